// Shows how far an upload and an import are. The forms work without this file.

const POLL_MS = 500;
const MEGABYTE = 1e6;
const BEGINNING = 4 * 2 ** 20; // of a larger file, for the preview
const NEEDS_ITS_END = ["PAR1", "PK\u0003\u0004", "ARROW1"]; // Parquet, zip, Arrow

let chosen = null; // the file of which the beginning was sent; it follows whole with the yes

function fill(sentence, values) {
  return sentence.replace(/%\((\w+)\)s/g, (_, name) => values[name]);
}

function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

class Bar {
  constructor(form) {
    this.box = form.querySelector("[data-bar]");
    this.bar = this.box.querySelector("progress");
    this.line = this.box.querySelector("p");
    this.box.hidden = false;
    this.started = performance.now();
  }

  show(done, total, words, values) {
    const seconds = (performance.now() - this.started) / 1000;
    this.bar.max = total || 1;
    this.bar.value = done;
    const left = done ? Math.ceil((seconds * (total - done)) / done) : "–";
    this.line.textContent = fill(this.line.dataset[words], { ...values, left });
  }

  sending({ loaded, total }) {
    const rate = loaded / MEGABYTE / ((performance.now() - this.started) / 1000);
    const values = { done: (loaded / MEGABYTE).toFixed(1), total: (total / MEGABYTE).toFixed(1), rate: rate.toFixed(1) };
    this.show(loaded, total, "sending", values);
  }

  waiting() {
    this.bar.removeAttribute("value");
    this.line.textContent = this.line.dataset.waiting;
    this.started = performance.now();
  }

  reading({ bytes, total, rows }) {
    const share = `${Math.floor((100 * bytes) / (total || 1))}%`;
    this.show(bytes, total, "reading", { share, rows: rows.toLocaleString() });
  }

  lost() {
    this.line.textContent = this.line.dataset.lost;
  }
}

function poll(key, bar) {
  const timer = setInterval(async () => {
    try {
      const state = await (await fetch(`/v1/imports/${key}`)).json();
      if (state) bar.reading(state);
    } catch {
      // the form's own request tells
    }
  }, POLL_MS);
  return () => clearInterval(timer);
}

// The answer is a page: a preview or a refusal takes the place of this one, a redirect is followed.
function arrived(request, action) {
  const landed = new URL(request.responseURL);
  if (landed.pathname !== new URL(action, location).pathname) {
    location.assign(landed);
    return;
  }
  const page = new DOMParser().parseFromString(request.responseText, "text/html");
  document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
  document.title = page.title;
  attach();
  document.querySelector("main").focus();
  scrollTo(0, 0);
}

async function canBeCut(file) {
  if (file.size <= BEGINNING) return false;
  const start = await file.slice(0, 8).text();
  return !NEEDS_ITS_END.some((mark) => start.startsWith(mark));
}

// What goes to the server: of a large file its beginning first, and the whole file with the yes.
async function bodyOf(form) {
  const data = new FormData(form);
  const file = data.get("file");
  if (file) {
    chosen = (await canBeCut(file)) ? file : null;
    if (chosen) {
      data.set("file", file.slice(0, BEGINNING), file.name);
      data.set("beginning", "yes");
    }
    return data;
  }
  if (form.dataset.progress === "import" && data.get("beginning") && chosen) {
    data.set("whole", chosen, chosen.name);
    return data;
  }
  return new URLSearchParams(data);
}

async function send(event) {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  const bar = new Bar(form);
  const key = newKey();
  if (form.elements.key) form.elements.key.value = key;
  button.disabled = true;
  const request = new XMLHttpRequest();
  const body = await bodyOf(form);
  const multipart = body instanceof FormData;
  let stop = () => {};
  const over = () => {
    stop();
    button.disabled = false;
  };
  if (multipart) request.upload.addEventListener("progress", (progress) => bar.sending(progress));
  request.upload.addEventListener("load", () => {
    bar.waiting();
    stop = poll(key, bar);
  });
  request.addEventListener("load", () => {
    over();
    arrived(request, form.action);
  });
  request.addEventListener("error", () => {
    over();
    bar.lost();
  });
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "text/html");
  request.send(body);
}

function attach() {
  for (const form of document.querySelectorAll("form[data-progress]")) form.addEventListener("submit", send);
}

attach();
