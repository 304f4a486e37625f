// The order as a strip of letters, and dragging into it with mouse, pen or finger.
// The strip is a picture of the radios: screen readers and keyboards use those.

const SLACK = 5; // pixels that a click may wander
const REACH = 90; // pixels from the strip within which a drop counts

const make = (name, className, text = "") => Object.assign(document.createElement(name), { className, textContent: text });

function chip(label) {
  const one = make("span", "chip", label);
  one.dataset.drag = label;
  return one;
}

function gap(place) {
  const one = make("span", "gap");
  one.dataset.gap = place;
  return one;
}

/** Draw the places, best first, and what has none yet. */
export function draw(strip, groups, rest, tie) {
  const parts = [gap(0)];
  groups.forEach((group, place) => {
    const box = make("span", tie && place === groups.length - 1 ? "box tying" : "box");
    box.dataset.place = place;
    box.append(...group.map(chip));
    parts.push(box, gap(place + 1));
  });
  const open = make("span", "rest");
  open.append(...rest.map(chip));
  strip.replaceChildren(...parts, open);
  strip.classList.toggle("empty", !groups.length);
}

/** `groups` with `label` taken out and put where it was dropped: into a place (a tie) or between two. */
export function placed(groups, label, target) {
  const without = groups.map((group) => group.filter((one) => one !== label));
  const moved = "place" in target
    ? without.map((group, place) => (place === target.place ? [...group, label] : group))
    : [...without.slice(0, target.gap), [label], ...without.slice(target.gap)];
  return moved.filter((group) => group.length);
}

/** Where a pointer would drop: {place} or {gap}; null far from the strip. Inside a box its edges count as gaps. */
function targetAt(strip, x, y) {
  let best = null;
  for (const part of strip.querySelectorAll("[data-gap], [data-place]")) {
    const box = part.getBoundingClientRect();
    const dx = Math.max(box.left - x, 0, x - box.right);
    const dy = Math.max(box.top - y, 0, y - box.bottom);
    const far = Math.hypot(dx, dy);
    if (!best || far < best.far) best = { far, part };
  }
  if (!best || best.far > REACH) return null;
  const { gap: between, place } = best.part.dataset;
  return place === undefined ? { gap: Number(between), part: best.part } : { place: Number(place), part: best.part };
}

/** Chips and the grips of cards can be dragged; a tap on a chip picks it, or takes it out. */
export function dragging(form, signal, order) {
  const strip = form.querySelector(".strip");
  let held = null;

  function release() {
    held?.ghost?.remove();
    strip.classList.remove("over");
    strip.querySelector(".target")?.classList.remove("target");
    held = null;
  }

  function follow(event) {
    if (!held || event.pointerId !== held.pointer) return;
    if (!held.ghost && Math.hypot(event.clientX - held.x, event.clientY - held.y) < SLACK) return;
    if (!held.ghost) {
      held.ghost = make("span", "chip ghost", held.label);
      document.body.append(held.ghost);
      strip.classList.add("over");
    }
    held.ghost.style.transform = `translate(${event.clientX}px, ${event.clientY}px) translate(-50%, -70%)`;
    held.target = targetAt(strip, event.clientX, event.clientY);
    strip.querySelector(".target")?.classList.remove("target");
    held.target?.part.classList.add("target");
  }

  function drop(event) {
    if (!held || event.pointerId !== held.pointer) return;
    const { label, target, ghost } = held;
    const onStrip = strip.contains(held.from);
    release();
    if (ghost && target) order.drop(placed(order.groups(), label, target), label);
    else if (!ghost && onStrip) order.tap(label);
  }

  form.addEventListener("pointerdown", (event) => {
    const from = event.target.closest("[data-drag]");
    if (!from || event.button !== 0 || held) return;
    event.preventDefault(); // neither a text selection nor a scroll
    held = { label: from.dataset.drag, from, pointer: event.pointerId, x: event.clientX, y: event.clientY };
  }, { signal });
  addEventListener("pointermove", follow, { signal });
  addEventListener("pointerup", drop, { signal });
  addEventListener("pointercancel", release, { signal });
}
