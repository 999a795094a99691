// Draws the figures of a page with uPlot. The numbers come from `data-chart`; the table beside a chart has them too.
"use strict";

const UNITS = {
  usd: (v) => "$" + v.toLocaleString("en", { maximumFractionDigits: Math.abs(v) < 10 ? 2 : 0 }),
  points: (v) => (v > 0 ? "+" : "") + v.toLocaleString("en", { maximumFractionDigits: 1 }),
  percent: (v) => v.toLocaleString("en", { maximumFractionDigits: 1 }) + " %",
  count: (v) => v.toLocaleString("en"),
};
const drawn = new Map();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

function draw(figure) {
  const place = figure.querySelector(".plot");
  if (!place || typeof uPlot === "undefined") return;
  drawn.get(figure)?.destroy();
  const chart = JSON.parse(figure.dataset.chart);
  const say = UNITS[chart.unit];
  const ink = colour("soft"), line = colour("line");
  const rows = chart.series.map((one) => one.values.slice());
  if (chart.stacked) {
    for (let at = 1; at < rows.length; at += 1) rows[at] = rows[at].map((v, i) => v + rows[at - 1][i]);
  }
  const shown = chart.series.map((one, at) => ({
    label: one.label,
    stroke: colour(one.tone),
    width: one.width,
    dash: one.dash ? [6, 4] : undefined,
    fill: one.fill && !chart.stacked ? colour(one.tone) + "33" : one.fill && at === 0 ? colour(one.tone) + "55" : undefined,
    points: { show: chart.x.length < 3 },
    value: (_, v, series, i) => (i === null || chart.series[at].values[i] === null ? "" : say(chart.series[at].values[i])),
  }));
  const bands = chart.bands.map(([high, low]) => ({ series: [high, low], fill: colour("band") + "33" }));
  if (chart.stacked) {
    for (let at = 1; at < rows.length; at += 1) {
      bands.push({ series: [at + 1, at], fill: colour(chart.series[at].tone) + "55" });
    }
  }
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const options = {
    width: Math.max(200, place.clientWidth),
    height: 240,
    tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "UTC"),
    scales: { x: { time: chart.time, distr: chart.log_x ? 3 : 1, log: 10 } },
    axes: [
      { ...axis, label: chart.x_label || undefined, labelSize: 20, values: chart.time ? (_, vs) => vs.map((v) => new Date(v * 1000).toISOString().slice(5, 10)) : (_, vs) => vs.map((v) => (v === null ? "" : v.toLocaleString("en"))) },
      { ...axis, size: 64, values: (_, vs) => vs.map(say) },
    ],
    series: [{ label: chart.time ? "day" : chart.x_label, value: (_, v) => (v === null ? "" : chart.time ? new Date(v * 1000).toISOString().slice(0, 10) : v.toLocaleString("en")) }, ...shown],
    bands,
    cursor: { drag: { x: true, y: false } },
  };
  drawn.set(figure, new uPlot(options, [chart.x, ...rows], place));
}

function drawAll(root) {
  for (const figure of drawn.keys()) {
    if (!figure.isConnected) {
      drawn.get(figure).destroy();
      drawn.delete(figure);
    }
  }
  for (const figure of root.querySelectorAll("figure[data-chart]")) draw(figure);
}

let waiting = null;
new ResizeObserver(() => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    for (const [figure, chart] of drawn) chart.setSize({ width: Math.max(200, figure.querySelector(".plot").clientWidth), height: 240 });
  }, 100);
}).observe(document.body);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
document.addEventListener("weighbridge:new", (event) => drawAll(event.target));
drawAll(document);
