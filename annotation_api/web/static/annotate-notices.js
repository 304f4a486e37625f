// What people are told above the task: answers that wait, answers that were refused, a task that somebody else took.

import { Shelf } from "./annotate-outbox.js";

export function element(name, text = "", className = "") {
  return Object.assign(document.createElement(name), { textContent: text, className });
}
const button = (text, action) => Object.assign(element("button", text, "quiet"), { type: "button", onclick: action });
const OURS = /^(assignment|submission|supersedes|\w+_ms)$/; // fields that say nothing to a person

/** A panel in the place of a task: nothing is left, or the next one is not there yet. */
export function panel(sentence) {
  const node = document.getElementById("done").content.firstElementChild.cloneNode(true);
  if (sentence) node.replaceChildren(element("p", sentence));
  return { node, id: "" };
}

/** Others hold what is left: `again` is when to ask whether they gave it back. */
export function heldPanel(headers) {
  const node = document.getElementById("held").content.firstElementChild.cloneNode(true);
  const line = node.querySelector("[data-held]");
  line.textContent = line.textContent.replace("{n}", headers.get("X-Held-Tasks"));
  return { node, id: "", again: Number(headers.get("Retry-After")) * 1_000 };
}

export class Notices {
  /** `to.tasks` holds by submission what `to.reopen(task)` can open again; `to.sign` is where one signs in, `to.change` the last answer. */
  constructor(place, words, person, to) {
    Object.assign(this, { place, words, to });
    this.kept = new Shelf(`rankloop:kept:${person}`); // what refused answers said is not lost
  }

  unsent(waiting, trouble) {
    document.getElementById("unsent")?.remove();
    if (!waiting || !trouble) return;
    const signedOut = trouble === "signed-out";
    const line = element("p", signedOut ? this.words["signed-out"] : this.words.unsent.replace("{n}", waiting), "note");
    line.id = "unsent";
    if (signedOut) line.append(" ", Object.assign(element("a", this.words["sign-in"]), { href: this.to.sign }));
    this.place.append(line);
  }

  refused(item, problem) {
    const slug = problem.type?.split(":").pop();
    const found = problem.errors?.map((one) => one.message).join(" ") || problem.detail;
    const sentence = `${this.words.lost} ${this.words[slug] ?? found ?? ""}`;
    const kept = { id: item.id, sentence, body: item.type.includes("json") ? "" : item.body };
    this.kept.add({ ...kept, change: slug === "already-submitted" });
    this.draw();
  }

  /** Somebody else has the task in hand: it stays until the person goes on. Without `goOn` it goes. */
  taken(goOn) {
    this.place.querySelector(".taken")?.remove();
    if (!goOn) return;
    const line = element("div", "", "alert taken");
    line.append(element("p", this.words.taken), button(this.words.next, goOn));
    this.place.append(line);
  }

  /** Enter on a task that somebody else has: the next Enter takes the next one. */
  askOn() {
    const line = this.place.querySelector(".taken");
    line.scrollIntoView({ block: "center" });
    line.querySelector("button").focus();
  }

  draw() {
    this.place.querySelectorAll(".refused").forEach((old) => old.remove());
    this.place.append(...this.kept.read().map((item) => this.refusal(item)));
  }

  refusal(item) {
    const box = element("div", "", "alert refused");
    const task = this.to.tasks.get(item.id);
    box.append(element("p", item.sentence));
    if (task) box.append(button(this.words.reopen, () => { this.dismiss(item); this.to.reopen(task); }), " ");
    if (item.change) box.append(Object.assign(element("a", this.words.change, "button quiet"), { href: this.to.change }), " ");
    box.append(button(this.words.dismiss, () => this.dismiss(item)));
    if (!task && item.body) box.append(this.contents(item.body));
    return box;
  }

  contents(body) {
    const details = element("details");
    const said = [...new URLSearchParams(body)].filter(([name, value]) => value && !OURS.test(name));
    details.append(element("summary", this.words.kept), element("div", said.map((pair) => pair.join(": ")).join("\n"), "text"));
    return details;
  }

  dismiss(item) {
    this.kept.remove(item.id);
    this.draw();
  }
}
