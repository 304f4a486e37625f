// Charts that can be looked into: zoom, values under the pointer, smoothing, a log scale; uPlot draws them.
// They are drawn over the still ones of the page, which stay where there is no script.

const HEIGHT = 190;
const MARKS = { alarm: [6, 3], evaluation: [1, 4], chosen: [] };
const STEPS = [...Array(10).keys()].flatMap((power) => [1, 2, 5].map((it) => it * 10 ** power)); // there is no half a step
const drawn = new Map(); // key of a chart -> its uPlot
let known = { groups: [], marks: [] };
let range = null; // the steps that all charts show; null: all

export function number(value) {
  if (typeof value !== "number") return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e5)) return value.toExponential(3).replace(/\.?0+e/, "e").replace(/e([+-])(\d)$/, "e$10$2");
  return String(Number(value.toPrecision(4)));
}

const tool = (id) => document.getElementById(id);
const smoothing = () => Number(tool("smoothing")?.value ?? 0);
const logScale = () => Boolean(tool("log-scale")?.checked);

// An exponential mean, corrected for its beginning.
function smooth(values, weight) {
  if (!weight) return values;
  let mean = 0, mass = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    mean = weight * mean + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return mean / mass;
  });
}

function table(series) {
  const steps = [...new Set(series.flatMap(({ points }) => points.map(([step]) => step)))].sort((a, b) => a - b);
  const place = new Map(steps.map((step, n) => [step, n]));
  const columns = series.map(({ points }) => {
    const column = new Array(steps.length).fill(undefined); // undefined: the line goes on over it
    for (const [step, value] of points) column[place.get(step)] = logScale() && value <= 0 ? null : value;
    return smooth(column, smoothing());
  });
  return [steps, ...columns];
}

function resolved(figure, index) {
  const probe = document.createElement("i");
  probe.className = `series-${index % 8}`;
  probe.style.color = "var(--series)";
  figure.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function paint(figure, name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  figure.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// Vertical lines where something happened.
function marks(plot, figure) {
  const { ctx, bbox } = plot;
  for (const { step, kind } of known.marks) {
    const x = plot.valToPos(step, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.save();
    ctx.strokeStyle = paint(figure, kind === "alarm" ? "--bad" : kind === "chosen" ? "--good" : "--edge");
    ctx.lineWidth = kind === "evaluation" ? 1 : 2;
    ctx.setLineDash(MARKS[kind] ?? []);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }
}

function zoomed(plot) {
  const { min, max } = plot.scales.x;
  const [steps] = plot.data;
  if (min === undefined || min === null || !steps.length) return;
  const whole = min <= steps[0] && max >= steps.at(-1);
  const next = whole ? null : [min, max];
  if (JSON.stringify(next) === JSON.stringify(range)) return;
  range = next;
  for (const other of drawn.values()) if (other !== plot) show(other);
}

function show(plot) {
  const [steps] = plot.data;
  const [min, max] = range ?? [steps[0], steps.at(-1)];
  plot.setScale("x", { min, max: max > min ? max : min + 1 });
}

// As wide as the longest number beside the axis: -1.5e-05 keeps its minus.
function room(plot, ticks) {
  if (!ticks) return 58;
  plot.ctx.save();
  plot.ctx.font = `${11 * devicePixelRatio}px system-ui`;
  const longest = Math.max(...ticks.map((tick) => plot.ctx.measureText(tick).width)) / devicePixelRatio;
  plot.ctx.restore();
  return Math.max(58, Math.ceil(longest) + 22); // with the tick and its gap
}

function options(figure, chart, width) {
  const ink = paint(figure, "--soft"), line = paint(figure, "--line");
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui" };
  const said = JSON.parse(document.getElementById("charts").dataset.words);
  return {
    width, height: HEIGHT,
    scales: { x: { time: false }, y: { distr: logScale() ? 3 : 1 } },
    axes: [{ ...axis, size: 30, incrs: STEPS }, { ...axis, size: room, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick))) }],
    legend: { show: true, live: true },
    cursor: { sync: { key: "job" }, drag: { x: true, y: false }, y: false },
    hooks: { draw: [(plot) => marks(plot, figure)], setScale: [(plot, key) => { if (key === "x") zoomed(plot); }] },
    series: [
      { label: said.step, value: (_, value) => (value === null ? "–" : String(value)) },
      ...chart.series.map(({ label }, n) => ({
        label: figure.querySelectorAll(".of-line")[n]?.textContent ?? label, stroke: resolved(figure, n), width: 2, spanGaps: true, points: { show: chart.series[n].points.length < 2 },
        value: (_, value) => (value === null || value === undefined ? "–" : number(value)),
      })),
    ],
  };
}

function draw(figure, chart) {
  const place = figure.querySelector(".plot");
  if (!figure.offsetParent) return; // folded away: drawn when it is opened
  place.hidden = false;
  drawn.get(chart.key)?.destroy();
  place.replaceChildren();
  const width = Math.max(220, Math.floor(place.clientWidth));
  const plot = new uPlot(options(figure, chart, width), table(chart.series), place);
  drawn.set(chart.key, plot);
  figure.classList.add("drawn");
  if (range) show(plot);
  describe(figure, chart, plot);
}

function describe(figure, chart, plot) {
  figure.dataset.step = Math.max(...chart.series.map(({ points }) => points.at(-1)[0]));
  figure.dataset.points = Math.max(...chart.series.map(({ points }) => points.length));
  for (const { name, points } of chart.series) {
    const last = figure.querySelector(`[data-last="${CSS.escape(name)}"]`);
    if (last) last.textContent = number(points.at(-1)[1]);
  }
  plot.root.querySelector("canvas").setAttribute("role", "img");
  plot.root.querySelector("canvas").setAttribute("aria-label", figure.querySelector(".still")?.getAttribute("aria-label") ?? chart.key);
}

const charts = () => known.groups.flatMap((group) => group.charts);
const figureOf = (key) => document.querySelector(`[data-chart="${CSS.escape(key)}"]`);

// All charts anew: after a change of scale, of size or of looks.
export function drawAll() {
  for (const chart of charts()) {
    const figure = figureOf(chart.key);
    if (figure) draw(figure, chart);
  }
}

// What has come since; a metric without a place on the page is told to `missing`.
export function update(curves, missing = () => {}) {
  known = curves;
  for (const chart of charts()) {
    const figure = figureOf(chart.key), plot = drawn.get(chart.key);
    if (!figure || (plot && plot.series.length !== chart.series.length + 1)) return missing();
    if (!plot || !figure.contains(plot.root)) draw(figure, chart);
    else {
      plot.setData(table(chart.series), range === null);
      describe(figure, chart, plot);
    }
  }
}

// The page's parts were replaced: what is known is drawn into the new ones.
export function redraw() {
  document.querySelectorAll(".chart-tools").forEach((it) => { it.hidden = false; });
  drawAll();
}

export async function load(missing) {
  const place = document.getElementById("charts");
  if (!place) return missing?.();
  const answer = await fetch(place.dataset.curves);
  if (answer.ok) update(await answer.json(), missing ?? (() => {}));
}

function start() {
  const place = document.getElementById("charts");
  if (!place || typeof uPlot === "undefined") return;
  document.querySelectorAll(".chart-tools").forEach((it) => { it.hidden = false; });
  load();
}

document.addEventListener("change", (event) => { if (["smoothing", "log-scale"].includes(event.target.id)) drawAll(); });
document.addEventListener("click", (event) => {
  if (event.target.id !== "whole-run") return;
  range = null;
  for (const plot of drawn.values()) show(plot);
});
document.addEventListener("toggle", (event) => { if (event.target.matches?.("details.group") && event.target.open) drawAll(); }, true);
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawAll(); } });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
start();
