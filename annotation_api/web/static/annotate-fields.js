// The fields that every kind of task has: the note, the better answer, the submission's id.

/** The sentence on what these fields still need; null when they are fine. */
export function missing(task, words) {
  return missingNote(task, words) ?? copied(task, words);
}

function missingNote({ form }, words) {
  const note = form.querySelector("textarea[name=note][required]");
  if (!note || note.value.trim()) return null;
  note.focus();
  return words.note;
}

/** A better answer that is one of the answers, word for word. */
function copied(one, words) {
  const better = one.form.elements.better?.value.trim();
  const twin = better && [...one.node.querySelectorAll(".answer")].find((card) => card.querySelector(".source").textContent.trim() === better);
  return twin ? words.copy.replace("{label}", twin.dataset.label) : null;
}

/** Edit a copy: the answer's own text comes into an empty field, or in the place of another's untouched copy. */
export function copyAnswer(task, select) {
  const source = (label) => task.node.querySelector(`[data-label="${label}"] .source`)?.textContent ?? "";
  const box = task.form.elements.better;
  if (!box.value.trim() || box.value === select.dataset.copied) box.value = source(select.value);
  select.dataset.copied = source(select.value);
}

/** Open a part of the task and go to the field in it. */
export function goTo(node, selector) {
  const field = node.querySelector(selector);
  if (!field) return;
  if (field.closest("details")) field.closest("details").open = true;
  field.focus();
  field.scrollIntoView({ block: "nearest" });
}

/** A UUID, also where the browser makes none: on plain http. */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
