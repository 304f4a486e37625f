// Ranking by keys, clicks and drags. The radio ranks of the form are the one state; all else is drawn from them.

import { Marks } from "./annotate-marks.js";
import { dragging, draw } from "./ranking-strip.js";

const cards = (form) => [...form.querySelectorAll("article.answer")];
const labels = (form) => cards(form).map((card) => card.dataset.label);
const rankOf = (form, label) => Number(new FormData(form).get(`rank-${label}`)) || 0;
const wordsOf = (form) => JSON.parse(form.querySelector(".answers").dataset.words);
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** The order that the radios hold: [["B"], ["A", "C"]], best first; what has no rank is not in it. */
export function groupsOf(form) {
  const groups = new Map();
  for (const label of labels(form)) {
    const rank = rankOf(form, label);
    if (rank) groups.set(rank, [...(groups.get(rank) ?? []), label]);
  }
  return [...groups.keys()].sort((one, other) => one - other).map((rank) => groups.get(rank));
}

function write(form, groups) {
  const rank = new Map(groups.flatMap((group, place) => group.map((label) => [label, place + 1])));
  for (const label of labels(form)) {
    for (const radio of form.elements[`rank-${label}`]) radio.checked = Number(radio.value) === rank.get(label);
  }
}

const unplaced = (form) => labels(form).filter((label) => !rankOf(form, label));

/** The sentence on what is missing; null when the ranking is whole. */
export function complete(form) {
  const words = wordsOf(form);
  const open = unplaced(form);
  if (form.elements.all_bad.checked) return ratingsMissing(form, words);
  if (open.length) return words.missing.replace("{labels}", open.join(", "));
  if (form.querySelector(".steps[data-required]") && !form.elements.strength.value) return words.strength;
  return apartMissing(form, words) ?? ratingsMissing(form, words);
}

function apartMissing(form, words) {
  const open = [...form.querySelectorAll("[data-apart]")].filter((one) => !one.querySelector(":checked"));
  return open.length ? words.apart.replace("{labels}", [...new Set(open.map((one) => one.dataset.apart))].join(", ")) : null;
}

function ratingsMissing(form, words) {
  const asked = [...form.querySelectorAll(".ratings")];
  const open = asked.filter((one) => !one.querySelector(":checked"));
  const begun = open.length < asked.length || asked.some((one) => "required" in one.dataset);
  return open.length && begun ? words.ratings.replace("{labels}", open.map((one) => one.dataset.rates).join(", ")) : null;
}

class Desk {
  constructor(form, shell) {
    Object.assign(this, { form, shell, words: wordsOf(form), past: [], tie: false, seen: groupsOf(form) });
    this.marks = new Marks(form, shell);
  }

  /** Take a step to `groups`; the last answer alone falls into place by itself after a pick. */
  step(groups, falls = false) {
    const placed = new Set(groups.flat());
    const left = labels(this.form).filter((label) => !placed.has(label));
    if (falls && left.length === 1) groups = [...groups, left];
    this.past.push(this.seen);
    this.tie = false;
    this.set(groups);
    if (falls) this.rateNext();
  }

  /** Once the order is whole, required ratings are asked for: the next digits give them. */
  rateNext() {
    const asked = this.form.querySelector(".ratings[data-required]");
    if (asked && !unplaced(this.form).length && ratingsMissing(this.form, this.words)) this.marks.begin("R");
  }

  /** A click on a rank: when all others have their own, the last answer takes the one that is free. */
  chosen(radio) {
    const label = radio.name.replace("rank-", "");
    const left = unplaced(this.form);
    const taken = new Set(labels(this.form).map((one) => rankOf(this.form, one)).filter(Boolean));
    if (this.seen.flat().includes(label) || left.length !== 1 || taken.size + 1 !== labels(this.form).length) return;
    for (const free of this.form.elements[`rank-${left[0]}`]) if (!taken.has(Number(free.value))) free.checked = true;
  }

  set(groups) {
    this.seen = groups;
    write(this.form, groups);
    this.form.dispatchEvent(new Event("change", { bubbles: true })); // the draft hears it
  }

  pick(label) {
    const groups = groupsOf(this.form);
    if (groups.flat().includes(label)) return this.shell.say(this.words.placed.replace("{label}", label));
    if (this.tie) return this.step([...groups.slice(0, -1), [...groups.at(-1), label]], true);
    return this.step([...groups, [label]], true);
  }

  equal() {
    const groups = groupsOf(this.form);
    if (!groups.length) return this.shell.say(this.words["no-tie"]);
    if (unplaced(this.form).length) this.tie = !this.tie;
    else if (groups.length > 1) return this.step([...groups.slice(0, -2), groups.slice(-2).flat()]);
    return this.draw();
  }

  takeBack() {
    if (this.tie) this.tie = false;
    else if (this.form.elements.all_bad.checked) this.allBad();
    else if (this.past.length) this.set(this.past.pop());
    else this.set(takenBack(groupsOf(this.form), unplaced(this.form).length));
    this.draw();
  }

  allBad() {
    this.form.elements.all_bad.checked = !this.form.elements.all_bad.checked;
    this.form.dispatchEvent(new Event("change", { bubbles: true }));
  }

  /** One step of strength up or down; below the first there is none. */
  strength(by) {
    const radios = [...this.form.querySelectorAll(".steps input")];
    if (!radios.length) return;
    const at = Math.min(radios.findIndex((radio) => radio.checked) + by, radios.length - 1);
    radios.forEach((radio, place) => { radio.checked = place === at; });
    this.form.dispatchEvent(new Event("change", { bubbles: true }));
    if (at >= 0) this.shell.say(radios[at].nextElementSibling.textContent);
  }

  draw() {
    const groups = groupsOf(this.form);
    if (!same(groups, this.seen)) { this.past.push(this.seen); this.seen = groups; } // a click on a rank
    for (const card of cards(this.form)) {
      const place = groups.findIndex((group) => group.includes(card.dataset.label));
      card.classList.toggle("placed", place >= 0);
      card.querySelector(".place").textContent = place < 0 ? "" : `${place + 1}${groups[place].length > 1 ? "=" : ""}`;
    }
    this.form.classList.toggle("bad", this.form.elements.all_bad.checked);
    this.form.querySelector(".tie").ariaPressed = this.tie;
    draw(this.form.querySelector(".strip"), groups, unplaced(this.form), this.tie);
    this.shell.say(this.sentence(groups));
  }

  sentence(groups) {
    const left = unplaced(this.form);
    const order = groups.map((group) => group.join(" = ")).join(" > ");
    if (this.form.elements.all_bad.checked) return this.words.bad;
    if (this.tie) return this.words.tie.replace("{label}", groups.at(-1).at(-1));
    if (!groups.length) return this.words[matchMedia("(hover: none)").matches ? "begin-touch" : "begin"].replace("{keys}", `${left[0]} – ${left.at(-1)}`);
    if (left.length) return this.words["so-far"].replace("{order}", order).replace("{rest}", left.join(", "));
    return this.words.whole.replace("{order}", order);
  }

  press(event) {
    const all = labels(this.form);
    const key = event.key.toUpperCase();
    const label = /^[1-9]$/.test(key) ? all[key - 1] : all.find((one) => one === key);
    if (label) this.pick(label);
    else if (key === "=" || key === "T") this.equal();
    else if (key === "0") this.allBad();
    else if (key === "BACKSPACE") this.takeBack();
    else if (key === "." || key === ">") this.strength(1);
    else if (key === "," || key === "<") this.strength(-1);
    else return;
    event.preventDefault();
  }
}

/** Without the last step, as far as the order shows it: the last answer of all fell into place by itself. */
function takenBack(groups, left) {
  return left ? withoutLast(groups) : withoutLast(withoutLast(groups));
}

function withoutLast(groups) {
  const shorter = [...groups.slice(0, -1), (groups.at(-1) ?? []).slice(0, -1)];
  return shorter.filter((group) => group.length);
}

const TYPING = "textarea, select, .skipping, input:not([type=radio], [type=checkbox])";

/** Make the form answer to keys, clicks and drags until it leaves the page. */
export function attach(form, shell) {
  const desk = new Desk(form, shell);
  const listening = new AbortController();
  const { signal } = listening;
  form.addEventListener("change", (event) => {
    if (event.target.name?.startsWith("rank-")) desk.chosen(event.target);
    desk.draw();
  }, { signal });
  form.querySelector(".tie").addEventListener("click", () => desk.equal(), { signal });
  desk.marks.listen(signal);
  document.addEventListener("keydown", (event) => {
    if (!form.isConnected) return listening.abort(); // another task took its place
    const busy = event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat;
    if (busy || event.target.closest?.(TYPING) || document.querySelector("dialog[open]")) return;
    desk.press(event);
  }, { signal });
  dragging(form, signal, {
    groups: () => groupsOf(form),
    drop: (groups, label) => desk.step(groups, !rankOf(form, label)), // as a key does: the last one falls into place
    tap: (label) => (rankOf(form, label) ? desk.step(groupsOf(form).map((group) => group.filter((one) => one !== label)).filter((group) => group.length)) : desk.pick(label)),
  });
  desk.draw();
}
