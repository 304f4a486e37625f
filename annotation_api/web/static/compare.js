// Two answers side by side with what differs marked: by word, by character in Chinese, by line where too much differs.

const MOST_EDITS = 1_500; // beyond this, words say less than lines

/** The smallest parts that a person would see change. */
export function parts(text) {
  return text.match(/\p{Script=Han}|[\p{Script=Hiragana}\p{Script=Katakana}]|[\p{L}\p{M}\p{N}_]+|\s+|[^]/gu) ?? [];
}

/** Myers' shortest edit script: [kind, part] with kind "=", "-" or "+"; null beyond `most` edits. */
export function edits(a, b, most = MOST_EDITS) {
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail += 1;
  const middle = search(a.slice(head, a.length - tail), b.slice(head, b.length - tail), most);
  if (!middle) return null;
  const kept = (list) => list.map((part) => ["=", part]);
  return [...kept(a.slice(0, head)), ...middle, ...kept(a.slice(a.length - tail))];
}

function search(a, b, most) {
  const trace = [];
  const limit = Math.min(most, a.length + b.length);
  const middle = limit + 1; // of `reach`, which holds for each diagonal how far along `a` it got
  const reach = new Int32Array(2 * limit + 3);
  for (let d = 0; d <= limit; d += 1) {
    trace.push(reach.slice(middle - d - 1, middle + d + 2));
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && reach[middle + k - 1] < reach[middle + k + 1]);
      let x = down ? reach[middle + k + 1] : reach[middle + k - 1] + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      reach[middle + k] = x;
      if (x >= a.length && x - k >= b.length) return walk(a, b, trace);
    }
  }
  return null;
}

/** Back along the trace from the end to the beginning. */
function walk(a, b, trace) {
  const found = [];
  let x = a.length;
  let y = b.length;
  for (let d = trace.length - 1; d >= 0; d -= 1) {
    const reach = (k) => trace[d][k + d + 1];
    const k = x - y;
    const down = k === -d || (k !== d && reach(k - 1) < reach(k + 1));
    const fromX = d ? reach(down ? k + 1 : k - 1) : 0;
    const fromY = d ? fromX - (down ? k + 1 : k - 1) : 0;
    while (x > fromX + (d && !down ? 1 : 0) && y > fromY + (d && down ? 1 : 0)) { x -= 1; y -= 1; found.push(["=", a[x]]); }
    if (d && down) { y -= 1; found.push(["+", b[y]]); }
    if (d && !down) { x -= 1; found.push(["-", a[x]]); }
  }
  return found.reverse();
}

/** The edits between two texts: by part, else by line, else one for the other. */
export function difference(one, other) {
  const lines = (text) => text.match(/[^\n]*\n|[^\n]+/g) ?? [];
  return edits(parts(one), parts(other)) ?? edits(lines(one), lines(other)) ?? [["-", one], ["+", other]];
}

/** Runs of one kind as one piece: [kind, text]. */
function runs(script) {
  const found = [];
  for (const [kind, part] of script) {
    if (found.length && found.at(-1)[0] === kind) found.at(-1)[1] += part;
    else found.push([kind, part]);
  }
  return found;
}

/** The texts of a node in their order; formulas and pictures are marked as a whole, if at all. */
function textsOf(node) {
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) found.push(walker.currentNode);
  return found;
}

/** Mark what the script has on this side alone, in a copy of the text as the card shows it. */
function paint(side, shown, script, mark, name) {
  side.replaceChildren(shown);
  const pieces = runs(script.filter(([kind]) => kind === "=" || kind === mark));
  let [at, used] = [0, 0]; // the piece at hand, and how much of it is done
  for (let node of textsOf(side)) {
    while (node && node.length) {
      const [kind, text] = pieces[at];
      const length = Math.min(node.length, text.length - used);
      const rest = length < node.length ? node.splitText(length) : null;
      if (kind !== "=") enclose(node, name);
      used += length;
      if (used === text.length) [at, used] = [at + 1, 0];
      node = rest;
    }
  }
}

function enclose(node, name) {
  const whole = node.parentElement.closest("math");
  const target = whole ?? node;
  if (whole?.parentElement.matches(name)) return;
  const box = document.createElement(name);
  target.replaceWith(box);
  box.append(target);
}

function summary(line, script) {
  const words = JSON.parse(line.dataset.words);
  const kinds = runs(script).map(([kind]) => kind);
  const places = kinds.filter((kind, at) => kind !== "=" && (at === 0 || kinds[at - 1] === "=")).length;
  line.textContent = places === 0 ? words.same : places === 1 ? words.one : words.changed.replace("{n}", places);
}

/** Open the comparison on a task's first two answers; false if it has fewer. */
export function openCompare(task) {
  const dialog = document.getElementById("compare");
  const texts = new Map([...task.querySelectorAll("article.answer")].map((card) => [card.dataset.label, card]));
  if (texts.size < 2) return false;
  const [old, fresh] = dialog.querySelectorAll("select");
  const sides = dialog.querySelectorAll(".side");
  const plain = dialog.querySelector("[data-plain]");
  plain.checked = document.getElementById("plain").checked;
  const compare = () => {
    const shown = (select) => texts.get(select.value).querySelector(plain.checked ? ".source" : ".text").cloneNode(true);
    const [one, other] = [shown(old), shown(fresh)];
    const script = difference(one.textContent, other.textContent);
    paint(sides[0], one, script, "-", "del");
    paint(sides[1], other, script, "+", "ins");
    summary(dialog.querySelector("[data-summary]"), script);
  };
  for (const [place, select] of [old, fresh].entries()) {
    select.replaceChildren(...[...texts].map(([label, card]) => new Option(card.querySelector("h2").textContent, label)));
    select.selectedIndex = place;
    select.onchange = compare;
  }
  plain.onchange = compare;
  compare();
  dialog.showModal();
  return true;
}
