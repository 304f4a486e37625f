// Questions and rules by keyboard: the current one is marked, a key answers it and moves on.
// Conditional questions appear as answers change. Words come from the page.

import { Marks } from "./annotate-marks.js";

const asks = (form) => [...form.querySelectorAll("fieldset.ask")];
const open = (form) => asks(form).filter((ask) => !ask.hidden);
const radios = (ask) => [...ask.querySelectorAll("input[type=radio]")];
const box = (ask) => ask.querySelector("textarea");
const value = (ask) => (box(ask) ? box(ask).value.trim() : radios(ask).find((radio) => radio.checked)?.value ?? "");

/** The sentence on the first question that still needs an answer; null when the form is complete. */
export function complete(form) {
  const missing = open(form).find((ask) => "required" in ask.dataset && !value(ask));
  if (missing) go(form, missing);
  return missing ? missing.dataset.missing : null;
}

/** Hide what is not asked, given the answers so far; a hidden question sends nothing. */
function show(form) {
  const shown = new Map();
  for (const ask of asks(form)) {
    const on = shown.get(ask.dataset.when);
    const asked = !ask.dataset.when || Boolean(on && JSON.parse(ask.dataset.answers).includes(value(on)));
    ask.hidden = ask.disabled = !asked;
    if (asked) shown.set(ask.dataset.question, ask);
  }
  open(form).forEach((ask, place) => { ask.querySelector(".number").textContent = place + 1; });
}

function go(form, ask, scroll = true) {
  for (const each of asks(form)) each.classList.toggle("current", each === ask);
  form.querySelector("[aria-current]")?.removeAttribute("aria-current");
  if (!ask) return;
  ask.setAttribute("aria-current", "step");
  const target = box(ask) ?? radios(ask).find((radio) => radio.checked) ?? radios(ask)[0];
  if (!ask.contains(document.activeElement)) target.focus({ preventScroll: true });
  if (scroll) ask.scrollIntoView({ block: "nearest" });
}

const current = (form) => form.querySelector("fieldset.ask.current:not([hidden])") ?? open(form)[0];

function onward(form, from, step) {
  const list = open(form);
  const next = list[list.indexOf(from) + step];
  if (next) go(form, next);
}

function choose(form, ask, radio) {
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true })); // drafts and conditions hear it
  onward(form, ask, 1);
}

const TYPING = "textarea, select, .skipping, input:not([type=radio], [type=checkbox])";

function press(form, event) {
  const ask = current(form);
  const typing = event.target.closest?.(TYPING);
  if (!ask || (typing && (typing !== box(ask) || event.key !== "Escape"))) return;
  const picked = radios(ask).find((radio) => radio.dataset.key === event.key.toLowerCase());
  if (typing) { typing.blur(); onward(form, ask, 1); } // Escape: done with the words
  else if (picked) choose(form, ask, picked);
  else if (event.key === "Backspace") onward(form, ask, -1);
  else return;
  event.preventDefault();
}

function tell(form, shell) {
  const words = JSON.parse(form.querySelector(".questions").dataset.words);
  const needed = open(form).filter((ask) => "required" in ask.dataset);
  const done = needed.filter(value).length;
  shell.say(done === needed.length ? words.whole : words["so-far"].replace("{n}", done).replace("{all}", needed.length));
}

const attached = new WeakMap(); // a form comes back when an answer is changed

/** Make `form` answer to keys until it leaves the page. */
export function attach(form, shell) {
  attached.get(form)?.abort();
  const listening = new AbortController();
  const { signal } = listening;
  attached.set(form, listening);
  form.classList.add("scripted");
  const refresh = () => { show(form); tell(form, shell); };
  form.addEventListener("change", refresh, { signal });
  form.addEventListener("focusin", (event) => {
    const ask = event.target.closest("fieldset.ask");
    if (ask && !ask.classList.contains("current")) go(form, ask, false);
  }, { signal });
  document.addEventListener("keydown", (event) => {
    if (!form.isConnected) return listening.abort(); // another task took its place
    const busy = event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat;
    if (!busy && !document.querySelector("dialog[open]")) press(form, event);
  }, { signal });
  new Marks(form, shell).listen(signal);
  refresh();
  go(form, open(form).find((ask) => !value(ask)) ?? open(form)[0], false);
}
