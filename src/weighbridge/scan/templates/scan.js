(() => {
  const held = JSON.parse(document.getElementById("data").textContent);
  const shipped = { ...held.rows };
  const rows = { ...held.rows };
  const money = (nano) => {
    const usd = nano / 1e9;
    if (usd > 0 && usd < 0.005) return "under $0.01";
    const digits = usd >= 1000 ? 0 : 2;
    return "$" + usd.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  };
  const cost = (one) => {
    let total = 0;
    for (const s of one.slopes) {
      const own = "tokens." + one.family, theirs = "tokens." + s.family;
      const needed = [one.growth, ...(own === theirs ? [] : [own, theirs])];
      const cached = !one.keeps_cache && (s.cached !== 0 || s.uncached !== 0);
      if (cached) needed.push("cache.kept");
      if (s.dear_hours !== null) needed.push("hours.dear");
      if (needed.some((ident) => !(ident in rows))) return null;
      const ratio = own === theirs ? 1 : rows[own] / rows[theirs];
      const kept = cached ? rows["cache.kept"] : 1;
      const share = s.dear_hours === null ? 1 : s.dear_hours ? rows["hours.dear"] : 1 - rows["hours.dear"];
      total += share * ratio * (s.input + kept * s.cached + (1 - kept) * s.uncached + rows[one.growth] * s.output);
    }
    return total;
  };
  const show = () => {
    const changed = Object.keys(rows).some((ident) => rows[ident] !== shipped[ident]);
    document.body.classList.toggle("changed", changed);
    for (const one of held.costs) {
      const cell = document.getElementById(one.id);
      const value = changed ? cost(one) : null;
      cell.querySelector(".again").textContent =
        value === null ? "" : " now " + money(value) + (one.now ? " (" + (value / one.now).toFixed(2) + "x)" : "");
    }
  };
  for (const input of document.querySelectorAll("input[data-row]")) {
    input.addEventListener("input", () => {
      const value = Number(input.value);
      const ident = input.dataset.row;
      rows[ident] = input.value !== "" && Number.isFinite(value) && value >= 0 ? value : shipped[ident];
      show();
    });
  }
  document.getElementById("reset").addEventListener("click", () => {
    Object.assign(rows, shipped);
    for (const input of document.querySelectorAll("input[data-row]")) input.value = shipped[input.dataset.row];
    show();
  });
})();
