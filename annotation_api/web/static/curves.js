// The curves of a job grow while it runs.
const MOST_POINTS = 480;
const series = new Map(); // "phase: name" -> [[step, value], ...]
const changed = new Set();
let loaded = null;
let whole = false;

async function load(job) {
  const rows = await (await fetch(`/v1/jobs/${job}/metrics?points=${MOST_POINTS / 2}`)).json();
  for (const { phase, name, points } of rows) {
    const known = series.get(`${phase}: ${name}`) ?? [];
    const last = points.length ? points.at(-1)[0] : -1;
    series.set(`${phase}: ${name}`, [...points.filter(([, value]) => value !== null), ...known.filter(([step]) => step > last)]);
  }
  whole = true;
}

const scaled = (value, low, high) => (high > low ? (value - low) / (high - low) : 0.5);

function draw(name, number) {
  const figure = document.querySelector(`[data-curve="${CSS.escape(name)}"]`);
  const points = series.get(name);
  if (!figure || !points.length) return Boolean(figure);
  const box = figure.querySelector("svg").viewBox.baseVal;
  const [width, height] = [box.width + 2 * box.x, box.height + 2 * box.y];
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const line = points.map(([step, value]) =>
    `${(scaled(step, first, last) * width).toFixed(1)},${((1 - scaled(value, low, high)) * height).toFixed(1)}`);
  figure.querySelector("polyline").setAttribute("points", line.join(" "));
  const texts = { b: number(values.at(-1)), ".low": number(low), ".high": number(high), ".last": last };
  for (const [place, text] of Object.entries(texts)) figure.querySelector(place).textContent = text;
  return true;
}

function add(name, step, value) {
  const points = series.get(name) ?? [];
  series.set(name, points);
  while (points.length && points.at(-1)[0] >= step) points.pop(); // another attempt tells it again
  points.push([step, value]);
  if (points.length > MOST_POINTS) series.set(name, points.filter((_, n) => n % 2 || n > MOST_POINTS - 8));
}

// Takes one progress event; `missing` is called when there is no figure for one of its metrics yet.
export async function follow(job, at, number, missing) {
  for (const [name, value] of Object.entries(at.metrics || {})) {
    if (typeof value === "number") add(`${at.phase}: ${name}`, at.step, value);
    changed.add(`${at.phase}: ${name}`);
  }
  loaded ??= load(job);
  await loaded;
  if (changed.size === 0) return;
  const names = [...changed];
  changed.clear();
  if (!names.filter((name) => series.has(name)).every((name) => draw(name, number))) missing();
}

// The page's parts were replaced: draw what is known into the new ones.
export function redraw(number) {
  if (whole) for (const name of series.keys()) draw(name, number);
}
