// Parts of a page that go on by themselves. The server sends them as it renders them, with everything escaped.
"use strict";

for (const place of document.querySelectorAll("[data-live]")) {
  const body = place.querySelector(".live-body");
  const state = document.querySelector("[data-live-state]");
  const source = new EventSource(place.dataset.live);
  const say = (text) => {
    if (state) state.textContent = text;
  };
  source.addEventListener("part", (event) => {
    if (body.contains(document.activeElement) && document.activeElement !== body) return; // somebody is in there
    const open = [...body.querySelectorAll("details[open]")].map((one) => one.closest("[id]")?.id);
    body.innerHTML = JSON.parse(event.data);
    for (const one of body.querySelectorAll("details")) {
      if (open.includes(one.closest("[id]")?.id)) one.open = true;
    }
    body.dispatchEvent(new CustomEvent("weighbridge:new", { bubbles: true }));
    say(`Live. Changed at ${new Date().toISOString().slice(11, 19)} UTC.`);
  });
  source.addEventListener("still", () => say(`Live. Looked at ${new Date().toISOString().slice(11, 19)} UTC.`));
  source.addEventListener("done", () => {
    source.close();
    location.reload();
  });
  source.addEventListener("error", () => say("The connection is lost; it is tried again."));
}
