// The desk: one task in hand, the next one ready, answers posted behind the person's back and never lost.
// The page works without it. Words come from the page.

import { Clock } from "./annotate-clock.js";
import { Drafts, fieldsOf, fill } from "./annotate-draft.js";
import { copyAnswer, goTo, missing, newId } from "./annotate-fields.js";
import { listen } from "./annotate-keys.js";
import { heldPanel, Notices, panel } from "./annotate-notices.js";
import { Outbox, Shelf } from "./annotate-outbox.js";
import { follow } from "./annotate-prompt.js";

const desk = document.getElementById("desk");
const words = JSON.parse(desk.dataset.words);
const base = `/projects/${desk.dataset.project}`;
const KINDS = { ranking: "./ranking.js", questions: "./forms.js", rules: "./forms.js" };
const answered = new Map(); // by submission: the tasks of this visit that are not stored yet, to be opened again

let task = null; // in hand: {id, node, form, module, leaseUntil, draftedAt, sent}
let next = null; // what `fetchNext` brought: a task, or an end
let last = null; // answered last, for undo
let aside = null; // the task that waits while the last answer is changed
let turn = 0;
let watching = 0; // a timer, while others hold what is left

const drafts = new Drafts((of) => { if (of === task) document.getElementById("saved").textContent = words.saved; });
const clock = new Clock(() => [aside ?? task, next].filter((one) => one?.form && !one.sent && !one.taken && !changes(one)), onTaken);
const outbox = new Outbox(desk.dataset.person, { sent: onSent, refused: onRefused, state: onState });
const notices = new Notices(document.getElementById("notices"), words, desk.dataset.person, {
  tasks: answered, reopen, sign: `/login?next=${base}/annotate`, change: `${base}/correct`,
});
const changes = (one) => Boolean(one.form.elements.supersedes.value);

// ---------------------------------------------------------------- tasks

function open(node) {
  const form = node.querySelector("#work");
  const { assignment, leaseUntil, draftedAt } = node.dataset;
  return { id: assignment, node, form, leaseUntil: Date.parse(leaseUntil), draftedAt: Number(draftedAt) };
}

function show(one) {
  task = one;
  const old = document.getElementById("task");
  if (old !== one.node) old.replaceWith(one.node);
  document.body.classList.toggle("forms", Boolean(one.form) && one.form.dataset.kind !== "ranking");
  document.getElementById("saved").textContent = "";
  notices.taken(one.taken && (() => advance()));
  desk.querySelector("[data-do=compare]").hidden = one.node.querySelectorAll("article.answer").length < 2;
  follow(one.node);
  if (!one.form) return;
  one.form.noValidate = true;
  clock.begin(one);
  if (!one.attached && drafts.restore(one)) document.getElementById("saved").textContent = words.restored;
  one.attached = true;
  one.module.attach(one.form, { say, words });
}

async function fetchNext(besides) {
  const mine = ++turn;
  for (next = null; mine === turn; await pause(1_000)) {
    await outbox.idle(); // else the server would hand out again what is just being answered
    const url = `${base}/card${besides ? `?besides=${besides}` : ""}`;
    const answer = await fetch(url, { method: "POST", headers: { Accept: "application/problem+json" } }).catch(() => null);
    const found = answer && (await read(answer));
    if (mine !== turn) return;
    if (!found) continue;
    next = found;
    if (task.waits) advance(task.since);
    return;
  }
}

/** A task or an end; null when it is worth another try. */
async function read(answer) {
  if (answer.status === 204) return answer.headers.has("Retry-After") ? heldPanel(answer.headers) : panel();
  if (!answer.ok) return answer.status < 500 ? panel(await sentenceOf(answer)) : null;
  const frame = document.createElement("template");
  frame.innerHTML = await answer.text();
  frame.content.querySelectorAll("noscript").forEach((one) => one.remove()); // a template parses what is in them
  const one = open(document.importNode(frame.content.querySelector("#task"), true));
  one.module = await import(KINDS[one.form.dataset.kind]);
  return one;
}

async function sentenceOf(answer) {
  if (answer.status === 401) return words["signed-out"];
  return (await answer.json().catch(() => ({}))).detail ?? answer.statusText;
}

function advance(began) {
  if (!next) {
    show({ ...panel(navigator.onLine ? words.loading : words.offline), waits: true, since: began });
    return;
  }
  const one = next;
  next = null;
  show(one);
  scrollTo(0, 0);
  if (began !== undefined) requestAnimationFrame(() => setTimeout(() => performance.measure("rankloop:next", { start: began })));
  if (one.form) setTimeout(() => fetchNext(one.id), 50);
  else if (one.waits === undefined && !one.last) again(one);
}

/** Nothing was left besides the task in hand; ask once more now that it is answered, and on while others hold some. */
async function again(end) {
  await outbox.idle();
  await fetchNext(null);
  if (task !== end || !next) return;
  next.last = true;
  advance(); // also from one end to another: the set is passed, or it is not
  if (task.again) watch(task);
}

/** Until what others hold is given back, or done; nobody who is away gets a task. */
function watch(end) {
  clearTimeout(watching);
  watching = setTimeout(() => { if (task === end) (clock.present() ? again : watch)(end); }, end.again);
}

// ---------------------------------------------------------------- answers

function submit(began) {
  if (!task.form || task.sent) return;
  if (task.taken) return notices.askOn();
  const lacking = task.module.complete(task.form) ?? missing(task, words);
  if (lacking) return say(lacking, true);
  const times = clock.read(task);
  task.form.elements.active_ms.value = times.active;
  task.form.elements.total_ms.value = times.total;
  const submission = task.form.elements.submission.value;
  const body = new URLSearchParams(new FormData(task.form)).toString();
  post({ id: submission, url: `${base}/annotate?background=true`, type: "application/x-www-form-urlencoded", body });
  answered.set(submission, task);
  last = Object.assign(task, { submission });
  if (aside) back();
  else advance(began);
}

function post(item) {
  task.sent = true;
  drafts.cancel(task.id);
  outbox.add({ assignment: task.id, ...item });
}

function undo() {
  if (aside || task.sent) return;
  if (!last) {
    if (desk.querySelector("[data-do=undo]")) location.assign(`${base}/correct`);
    else say(words["nothing-to-undo"]);
    return;
  }
  setAside();
  correct(last, last.submission);
  show(last);
  last.before = fieldsOf(last.form);
  scrollTo(0, 0);
}

function setAside() {
  aside = task;
  clock.pause(aside);
}

function correct(one, supersedes) {
  one.sent = false;
  one.began = undefined; // its time is the correction's
  one.form.elements.supersedes.value = supersedes;
  one.form.elements.submission.value = newId();
  one.node.querySelector(".correcting").hidden = false;
  one.node.querySelector(".fresh-words").hidden = true;
  one.node.querySelector(".change-words").hidden = false;
  one.node.querySelector(".skip")?.remove();
}

function leave() {
  if (!task.form || (!aside && !changes(task))) return;
  if (!aside) return location.assign(`${base}/annotate`);
  if (changes(task)) {
    fill(task.form, task.before);
    drafts.drop(task.id);
  }
  back();
}

/** From a correction to the task that waited. */
function back() {
  const one = aside;
  aside = null;
  clock.resume(one);
  if (!one.form && next) advance();
  else show(one);
  if (one.again) watch(one);
}

function skip(event) {
  event.preventDefault();
  if (task.sent) return;
  const given = new FormData(event.target);
  const reason = [given.get("reason"), given.get("words").trim()].filter(Boolean).join(": ");
  post({ id: newId(), url: `/v1/assignments/${task.id}:skip`, type: "application/json", body: JSON.stringify({ reason }) });
  if (aside) back();
  else advance();
}

// ---------------------------------------------------------------- what happened to them

function onSent(item, html) {
  drafts.drop(item.assignment);
  answered.delete(item.id);
  if (html) desk.querySelector(".status").innerHTML = html; // our own template
}

function onRefused(item, problem) {
  if (last?.submission === item.id) last = null; // there is nothing that a correction could supersede
  notices.refused(item, problem);
}

function onState(waiting, trouble) {
  desk.dataset.unsent = waiting;
  notices.unsent(waiting, trouble);
}

function onTaken(one, type) {
  if (one === next) return void fetchNext(task.id);
  if (type !== "urn:rankloop:lease-ended") return;
  one.taken = true; // an answer would only be refused
  if (one === task) notices.taken(() => advance());
}

/** A refused answer, to be mended and sent as a new one. */
function reopen(one) {
  if (!aside) setAside();
  one.sent = false;
  one.form.elements.submission.value = newId();
  show(one);
}

// ---------------------------------------------------------------- small things

function say(sentence, urgent = false) {
  const line = task.node.querySelector(".say");
  if (!line) return;
  line.textContent = sentence;
  line.classList.toggle("urgent", urgent);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function compare() {
  const { openCompare } = await import("./compare.js");
  if (!openCompare(task.node)) say(words["no-pair"]);
}

const plain = document.getElementById("plain");
const act = {
  submit, undo, leave, compare,
  skip: () => goTo(task.node, ".skipping input"),
  plain: () => plain.click(),
  prompt: () => task.node.querySelector(".prompt").scrollIntoView({ block: "start" }),
  note: () => goTo(task.node, "textarea[name=note]"),
  better: () => goTo(task.node, "textarea[name=better]"),
  guide: () => { const guide = desk.querySelector(".guide"); if (guide) guide.open = !guide.open; },
  help: () => document.getElementById("help").showModal(),
};

listen(act);
desk.addEventListener("click", (event) => {
  const wanted = event.target.closest("[data-do]");
  if (!wanted) return;
  event.preventDefault();
  act[wanted.dataset.do]();
});
desk.addEventListener("submit", (event) => {
  if (event.target.id === "skip") skip(event);
  if (event.target.id !== "work") return;
  event.preventDefault();
  submit(performance.now());
});
for (const kind of ["input", "change"]) {
  desk.addEventListener(kind, (event) => {
    if (event.target.name === "better_from") copyAnswer(task, event.target);
    if (task.form?.contains(event.target) && event.target.form !== document.getElementById("skip")) drafts.save(task);
  });
}
document.addEventListener("visibilitychange", () => { if (document.hidden) drafts.flush(); });
const taste = new Shelf("rankloop:plain");
plain.checked = taste.read().length > 0;
plain.addEventListener("change", () => taste.write(plain.checked ? ["yes"] : []));
document.documentElement.classList.add("scripting");

task = open(document.getElementById("task"));
notices.draw();
if (task.node.querySelector("[data-held]")) again(Object.assign(task, { again: 1_000 }));
if (task.form) {
  task.module = await import(KINDS[task.form.dataset.kind]);
  if (outbox.holds(task.id)) { advance(); fetchNext(null); } else { show(task); fetchNext(changes(task) ? null : task.id); }
}
outbox.flush();
desk.dataset.ready = "yes";
