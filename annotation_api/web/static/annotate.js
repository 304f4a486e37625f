// Keeps the task for the person while the page is open and was touched lately. The page works without it.
"use strict";
const form = document.getElementById("ranking");
const IDLE_LIMIT = 10 * 60 * 1000;
let touched = Date.now();
for (const kind of ["pointerdown", "keydown", "scroll"]) {
  addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
}

async function renew() {
  if (Date.now() - touched > IDLE_LIMIT) return schedule(60_000); // somebody else may have it
  const answer = await fetch(`/v1/assignments/${form.dataset.assignment}:renew`, { method: "POST" }).catch(() => null);
  if (answer && answer.ok) form.dataset.leaseUntil = (await answer.json()).lease_until;
  if (!answer || answer.ok || answer.status >= 500) schedule(interval());
}

function interval() {
  const left = Date.parse(form.dataset.leaseUntil) - Date.now();
  return Math.min(Math.max(left / 3, 1_000), 120_000);
}

function schedule(delay) { setTimeout(renew, delay); }

schedule(interval());
