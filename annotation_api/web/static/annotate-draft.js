// What stands in a form, saved as one goes: in this browser at once, on the server a moment later. Never an answer.

const PAUSE = 1_500;
const LARGEST = 60_000;
const OLD = 7 * 24 * 3600 * 1000;
const PREFIX = "rankloop:draft:";

/** The filled fields of a form, hidden ones apart: [[name, value], ...]. */
export function fieldsOf(form) {
  const hidden = new Set([...form.querySelectorAll("input[type=hidden]")].map((input) => input.name));
  return [...new FormData(form)].filter(([name, value]) => value !== "" && !hidden.has(name));
}

/** Put fields into the form; what is not among them is emptied. */
export function fill(form, fields) {
  const all = new Set(fields.map(([name, value]) => `${name}=${value}`));
  const text = new Map(fields);
  for (const field of form.elements) {
    if (!field.name || field.type === "hidden") continue;
    if (field.type === "radio" || field.type === "checkbox") field.checked = all.has(`${field.name}=${field.value}`);
    else if (field.type !== "submit") field.value = text.get(field.name) ?? "";
    const filled = field.type === "checkbox" ? field.checked : field.type === "textarea" && field.value;
    if (filled && field.closest("details")) field.closest("details").open = true;
  }
}

export class Drafts {
  constructor(saved) { this.saved = saved; prune(); }

  /** A task's draft; a correction's stays in this browser. */
  key(task) { return PREFIX + task.id + (task.form.elements.supersedes.value && ":change"); }

  save(task) {
    const payload = { at: Date.now(), fields: fieldsOf(task.form) };
    const text = JSON.stringify(payload);
    try { localStorage.setItem(this.key(task), text); } catch { /* the server's copy must do */ }
    clearTimeout(this.timer);
    if (task.form.elements.supersedes.value) return;
    Object.assign(this, { pending: task.id, send: () => this.put(task, text) });
    this.timer = setTimeout(() => this.flush(), PAUSE);
  }

  /** Send what waits now: the page may be leaving. */
  flush() {
    clearTimeout(this.timer);
    this.send?.();
    this.send = null;
  }

  async put(task, text) {
    if (text.length > LARGEST) return;
    const url = `/v1/assignments/${task.id}/draft`;
    const options = { method: "PUT", headers: { "Content-Type": "application/json" }, body: `{"payload":${text}}`, keepalive: true };
    const answer = await fetch(url, options).catch(() => null);
    if (answer?.ok) this.saved(task);
  }

  /** Bring back this browser's draft where it is newer than what the server put into the form. */
  restore(task) {
    let kept = null;
    try { kept = JSON.parse(localStorage.getItem(this.key(task))); } catch { /* not ours */ }
    if (kept?.fields && kept.at > task.draftedAt) fill(task.form, kept.fields);
    return fieldsOf(task.form).length > 0 && Boolean(kept?.fields?.length || task.draftedAt);
  }

  /** Send nothing more of a task. */
  cancel(assignment) {
    if (this.pending === assignment) this.send = null;
  }

  drop(assignment) {
    this.cancel(assignment);
    for (const key of [PREFIX + assignment, `${PREFIX}${assignment}:change`]) {
      try { localStorage.removeItem(key); } catch { /* nothing was kept */ }
    }
  }
}

function prune() {
  try {
    for (const key of Object.keys(localStorage).filter((name) => name.startsWith(PREFIX))) {
      if (!(JSON.parse(localStorage.getItem(key))?.at > Date.now() - OLD)) localStorage.removeItem(key);
    }
  } catch { /* no storage, no drafts */ }
}
