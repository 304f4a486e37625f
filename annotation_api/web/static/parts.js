// Keeps a page true without loading it anew: its parts (data-part) are fetched and put in the place of the old ones.

export function span(seconds, words) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(seconds);
  const figures = { h: Math.floor(whole / 3600), m: Math.floor(whole / 60) % 60, s: whole % 60 };
  const form = figures.h ? words.h : figures.m ? words.m : words.s;
  return form.replace(/%\((\w)\)s/g, (_, name) => figures[name]);
}

export function words() {
  return JSON.parse(document.querySelector("[data-words]").dataset.words);
}

// What a reader opened stays open, and the focus stays on its button.
function keep(old, part) {
  const before = old.querySelectorAll("details");
  part.querySelectorAll("details").forEach((it, n) => { if (before[n]) it.open = before[n].open; });
  const focused = old.contains(document.activeElement) && document.activeElement.id;
  old.replaceWith(part);
  if (focused) document.getElementById(focused)?.focus();
}

function swap(fresh) {
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const old = document.querySelector(`[data-part="${part.dataset.part}"]`);
    if (old && old.outerHTML !== part.outerHTML) keep(old, document.adoptNode(part));
  }
}

let fetching = null;
let wanted = false;

async function fetchParts() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok && !answer.redirected) swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // the service is away; whatever happens next asks again
  }
}

// At most one request at a time; who asks meanwhile gets another one after it.
export async function refresh() {
  wanted = true;
  if (fetching) return fetching;
  fetching = (async () => {
    while (wanted) {
      wanted = false;
      await fetchParts();
    }
    fetching = null;
  })();
  return fetching;
}

// How long something lasts already, counted on.
setInterval(() => {
  for (const it of document.querySelectorAll("[data-since]")) {
    it.textContent = span((Date.now() - Date.parse(it.dataset.since)) / 1000, words());
  }
}, 1000);
