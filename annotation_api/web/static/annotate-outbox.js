// Answers on their way: kept in this browser until the server has them, sent in order, retried with the same id.

const SLOWEST = 60_000;

/** A list in localStorage; in memory where there is none (private windows, full disks). */
export class Shelf {
  constructor(name) { this.name = name; this.memory = null; }

  read() {
    if (this.memory) return this.memory;
    try { return JSON.parse(localStorage.getItem(this.name)) ?? []; } catch { return []; }
  }

  write(items) {
    try {
      if (items.length) localStorage.setItem(this.name, JSON.stringify(items));
      else localStorage.removeItem(this.name);
      this.memory = null;
    } catch { this.memory = items; }
  }

  add(item) { this.write([...this.read(), item]); }
  remove(id) { this.write(this.read().filter((item) => item.id !== id)); }
}

export class Outbox {
  /** `on` is told: sent(item, html), refused(item, problem), state(waiting, trouble), with trouble "", "offline" or "signed-out". */
  constructor(person, on) {
    this.shelf = new Shelf(`rankloop:outbox:${person}`);
    this.on = on;
    this.tries = 0;
    this.trouble = "";
    this.waiting = [];
    addEventListener("online", () => this.flush());
  }

  holds(assignment) { return this.shelf.read().some((item) => item.assignment === assignment); }

  /** item: {id, assignment, url, type, body}. */
  add(item) {
    this.shelf.add(item);
    this.tries = 0;
    this.tell();
    this.flush();
  }

  tell() { this.on.state(this.shelf.read().length, this.trouble); }

  /** Resolves when nothing waits to be sent. */
  idle() {
    if (!this.shelf.read().length) return Promise.resolve();
    this.flush();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  async flush() {
    if (this.busy) return;
    this.busy = true;
    clearTimeout(this.timer);
    try {
      await alone(this.shelf.name, () => this.sendAll());
    } finally {
      this.busy = false;
    }
    if (this.shelf.read().length) this.later();
    else this.waiting.splice(0).forEach((resolve) => resolve());
  }

  async sendAll() {
    for (let item; (item = this.shelf.read()[0]); this.tries = 0) {
      this.trouble = await this.send(item);
      this.tell();
      if (this.trouble) return;
    }
  }

  /** What keeps it from being sent; "" once the server has answered for good. */
  async send(item) {
    let answer;
    try {
      const headers = { "Content-Type": item.type, Accept: "application/problem+json" };
      answer = await fetch(item.url, { method: "POST", headers, body: item.body, signal: AbortSignal.timeout(20_000) });
    } catch { return "offline"; }
    if (answer.status === 401) return "signed-out";
    if (answer.status >= 500 || [408, 425, 429].includes(answer.status)) return "offline";
    this.shelf.remove(item.id);
    if (answer.ok) this.on.sent(item, await answer.text());
    else this.on.refused(item, await answer.json().catch(() => ({})));
    return "";
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), Math.min(SLOWEST, 1_000 * 2 ** this.tries));
    this.tries += 1;
  }
}

/** One tab at a time, where the browser can say so; the server takes a second copy for the first anyway. */
function alone(name, work) {
  return navigator.locks ? navigator.locks.request(name, work) : work();
}
