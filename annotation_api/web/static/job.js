// Follows a job's events; a change of state loads the page anew. The page works without it, by reloading.
"use strict";
const live = document.getElementById("live");
const bar = live.querySelector("progress");
const put = (id, text) => { document.getElementById(id).textContent = text; };

const words = JSON.parse(live.dataset.words); // the page's language: how it says hours, minutes, seconds

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const form = hours ? words.h : minutes ? words.m : words.s;
  const figures = { h: hours, m: minutes, s: whole % 60 };
  return form.replace(/%\((\w)\)s/g, (_, name) => figures[name]);
}

function number(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : "–";
}

function metric([name, value]) {
  const item = document.createElement("span");
  item.className = "metric";
  const figure = document.createElement("b");
  figure.textContent = number(value);
  item.append(`${name.replaceAll("_", " ")} `, figure);
  return item;
}

// An EventSource cannot say where to begin, so what the page shows already comes again and is passed over.
const shown = Number(live.dataset.after);
const isNew = (event) => Number(event.lastEventId) > shown;

const events = new EventSource(`/v1/jobs/${live.dataset.job}/events`);
events.addEventListener("progress", (event) => {
  if (!isNew(event)) return;
  const at = JSON.parse(event.data);
  bar.max = at.total || 1;
  bar.value = at.step;
  put("phase", at.phase);
  put("step", at.step);
  put("total", at.total);
  put("rate", number(at.rate));
  put("left", span(at.seconds_left));
  const figures = Object.entries(at.metrics || {}).flatMap((entry) => [metric(entry), " "]);
  document.getElementById("metrics").replaceChildren(...figures);
});
events.addEventListener("state", (event) => { if (isNew(event)) location.reload(); });
events.addEventListener("end", () => { events.close(); location.reload(); });
