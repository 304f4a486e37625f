// Follows a job's events: numbers and curves at once, the rest of the page by its parts. It works without this
// file, by reloading.
import { load, number, redraw } from "./charts.js";
import { refresh, span, words } from "./parts.js";

const EVERY_MS = 5000; // where the events cannot be had
const MISSING_MS = 2000; // between two looks for the figure of a new metric
const CURVES_MS = 1000; // between two looks at the curves
const live = () => document.getElementById("live");
const job = live().dataset.job;
const put = (id, text) => {
  const place = document.getElementById(id);
  if (place) place.textContent = text;
};

// What a job measures, or is at, in the words of the page.
function called(name) {
  const known = JSON.parse(document.getElementById("metrics").dataset.names);
  return known[name] ?? name.replaceAll("_", " ");
}

function metric([name, value]) {
  const item = document.createElement("span");
  item.className = "metric";
  const figure = document.createElement("b");
  figure.textContent = number(value);
  item.title = name;
  item.append(`${called(name)} `, figure);
  return item;
}

function show(at) {
  if (!document.getElementById("pace")) return; // it has ended meanwhile
  const bar = live().querySelector("progress");
  document.getElementById("pace").hidden = false;
  bar.max = at.total || 1;
  bar.value = at.step;
  put("phase", called(at.phase));
  put("step", at.step);
  put("total", at.total);
  put("rate", number(at.rate));
  put("left", span(at.seconds_left, words()));
  const figures = Object.entries(at.metrics || {}).flatMap((entry) => [metric(entry), " "]);
  document.getElementById("metrics").replaceChildren(...figures);
}

let newest = null;
async function renew() {
  await refresh();
  if (newest) show(newest);
  redraw();
  await load();
}

// The curves that have grown meanwhile: asked for at once, then no more often than they can be drawn.
let asked = 0;
let waits = null;
function grow() {
  if (waits) return;
  waits = setTimeout(async () => {
    asked = Date.now();
    await load(missing);
    waits = null;
  }, Math.max(0, asked + CURVES_MS - Date.now()));
}

let looked = 0;
function missing() {
  if (Date.now() - looked < MISSING_MS) return;
  looked = Date.now();
  renew();
}

const events = new EventSource(`/v1/jobs/${job}/events?after=${live().dataset.after}`);
events.addEventListener("progress", (event) => {
  newest = JSON.parse(event.data);
  show(newest);
  grow();
});
for (const kind of ["state", "checkpoint", "samples", "look", "note"]) events.addEventListener(kind, renew);
events.addEventListener("end", () => {
  events.close();
  newest = null;
  renew();
});
events.addEventListener("error", () => {
  if (events.readyState === EventSource.CLOSED) setInterval(renew, EVERY_MS);
});
