// Keys for what stands on a card besides its rank: ratings, flags, broken rules. One key opens a round, digits answer.
// While a round is open its digits and letters come before those of the ranking; everything else passes.

const TYPING = "textarea, select, .skipping, input:not([type=radio], [type=checkbox])";
// Letters that name no answer: those are A to I.
const ROUNDS = { R: ".ratings", M: ".marks[data-marks=flags]", X: ".marks[data-marks=broken]" };

export class Marks {
  constructor(form, shell) {
    Object.assign(this, { form, shell, round: null });
    this.cards = [...form.querySelectorAll("article.answer")];
    this.words = JSON.parse(form.closest("#task").dataset.marks);
  }

  /** Open the round of a key, at a card: the one that lacks it, the only one, or none yet. */
  begin(key) {
    const cards = this.cards.filter((card) => card.querySelector(ROUNDS[key]));
    if (!cards.length) return false;
    const first = key === "R" ? cards.find((card) => !card.querySelector(".ratings :checked")) ?? cards[0] : cards.length === 1 ? cards[0] : null;
    this.round = { key, given: [] };
    this.go(first);
    return true;
  }

  end() {
    this.round = null;
    this.cards.forEach((card) => card.classList.remove("marking"));
    this.form.dispatchEvent(new Event("change", { bubbles: true })); // the kind says its own sentence again
  }

  go(card) {
    this.round.card = card;
    for (const each of this.cards) each.classList.toggle("marking", each === card);
    const details = card?.querySelector(ROUNDS[this.round.key]);
    if (details?.matches("details")) details.open = true;
    (details ?? card)?.scrollIntoView({ block: "nearest" });
    this.tell();
  }

  tell() {
    const { key, card } = this.round;
    const sentence = this.words[card ? key : "which"] ?? "";
    this.shell.say(sentence.replace("{label}", card?.dataset.label ?? ""));
  }

  /** Whether the key was the round's. */
  press(key) {
    if (!this.round) return this.begin(key);
    if (key === "ESCAPE" || key === this.round.key) { this.end(); return true; }
    if (ROUNDS[key] && this.begin(key)) return true;
    const named = this.cards.find((card) => card.dataset.label === key);
    if (named) { this.go(named); return true; }
    if (key === "BACKSPACE") return this.takeBack();
    return /^[1-9]$/.test(key) && this.digit(Number(key));
  }

  digit(number) {
    const { key, card } = this.round;
    if (!card) { if (this.cards[number - 1]) this.go(this.cards[number - 1]); return true; }
    const box = card.querySelector(ROUNDS[key]).querySelectorAll("input")[number - 1];
    if (!box) return true;
    box.checked = key === "R" || !box.checked;
    box.dispatchEvent(new Event("change", { bubbles: true })); // the draft hears it
    if (key === "R") this.rated(card);
    else this.tell();
    return true;
  }

  /** On to the next card; after the last the round is over. */
  rated(card) {
    this.round.given.push(card);
    const next = this.cards[this.cards.indexOf(card) + 1];
    if (next) this.go(next);
    else this.end();
  }

  /** The last rating of the round; without one the round is over, and the key takes back what was before it. */
  takeBack() {
    const card = this.round.given.pop();
    if (!card) { this.end(); return false; }
    card.querySelectorAll(".ratings input").forEach((radio) => { radio.checked = false; });
    this.form.dispatchEvent(new Event("change", { bubbles: true }));
    this.go(card);
    return true;
  }

  /** Hear the keys of the page first, until the form leaves it. */
  listen(signal) {
    document.addEventListener("keydown", (event) => {
      const busy = event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat;
      if (busy || !this.form.isConnected || event.target.closest?.(TYPING) || document.querySelector("dialog[open]")) return;
      if (!this.press(event.key.toUpperCase())) return;
      event.preventDefault();
      event.stopPropagation();
    }, { signal, capture: true });
  }
}
