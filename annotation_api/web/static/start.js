// While a form is filled in, what the job would take stands beside it, and each empty field says what holds there.
// The page works without this file: its button Check asks the same.
const AFTER_MS = 350;
const form = document.querySelector("form[data-estimate]");
let timer = null;
let asking = null;

function usual(typed) {
  for (const [name, value] of Object.entries(typed)) {
    const field = form.elements.namedItem(name);
    if (!field || field.value !== "") continue;
    if (field.tagName === "SELECT") {
      const option = field.options[0];
      option.textContent = option.dataset.usual.replace("…", value);
    } else field.placeholder = value;
  }
}

async function ask() {
  asking?.abort();
  asking = new AbortController();
  try {
    const body = new URLSearchParams(new FormData(form));
    const answer = await fetch(form.dataset.estimate, { method: "POST", body, signal: asking.signal });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const part = document.adoptNode(page.getElementById("estimate"));
    document.getElementById("estimate").replaceWith(part);
    usual(JSON.parse(part.dataset.typed));
  } catch (error) {
    if (error.name !== "AbortError" && !(error instanceof TypeError)) throw error; // away: the next change asks again
  }
}

form?.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(ask, AFTER_MS);
});
if (form) ask();
