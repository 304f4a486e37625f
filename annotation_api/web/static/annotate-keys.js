// The keys of every kind of task. A kind's own keys come first: it listens closer to the form.

const TYPING = "textarea, select, [contenteditable], input:not([type=radio], [type=checkbox])";
const PRESSES = "a, button, summary, select, textarea"; // Enter is theirs

/** `act` holds what the keys do: submit(began), undo, leave, skip, compare, plain, help, note, better, guide. */
export function listen(act) {
  const commands = {
    u: act.undo, z: act.undo, s: act.skip, v: act.compare, p: act.plain, n: act.note, w: act.better, l: act.guide, "?": act.help,
  };
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const typing = event.target.closest?.(TYPING);
    const enter = event.key === "Enter" && !event.altKey && !event.shiftKey;
    if (enter && (event.ctrlKey || event.metaKey)) return take(event, () => act.submit(event.timeStamp));
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return escape(event.target, act);
    if (event.target.closest?.(".skipping")) return reason(event);
    if (enter && !event.target.closest?.(PRESSES)) return take(event, () => act.submit(event.timeStamp));
    if (!typing && commands[event.key.toLowerCase()]) take(event, commands[event.key.toLowerCase()]);
  });
}

/** Out of the reasons to skip, a text field or a correction. */
function escape(target, act) {
  const skip = target.closest?.("details.skip");
  if (skip) skip.open = false;
  if (skip || target.closest?.(TYPING)) target.blur();
  else act.leave();
}

/** A key held down acts once. */
function take(event, action) {
  event.preventDefault();
  if (!event.repeat) action();
}

function reason(event) {
  const radio = event.target.matches("[type=radio]") && event.currentTarget.document.querySelectorAll(".skipping [type=radio]")[event.key - 1];
  if (!radio) return;
  event.preventDefault();
  radio.checked = true;
  radio.focus();
}
