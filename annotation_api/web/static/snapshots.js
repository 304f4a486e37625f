// The form to freeze offers what the chosen source can have, and nothing else: which judgements count is a question of
// projects alone.

const source = document.querySelector("select[name=source]");
const kind = document.querySelector("select[name=kind]");

function offer() {
  const fits = new Set(source.selectedOptions[0].dataset.kinds.split(" "));
  for (const option of kind.options) option.hidden = option.disabled = !fits.has(option.value);
  if (kind.selectedOptions[0]?.disabled ?? true) kind.value = [...kind.options].find((option) => !option.disabled)?.value ?? "";
  const votes = source.value.startsWith("project:") && kind.value !== "prompts";
  for (const label of document.querySelectorAll("[data-of-project]")) label.hidden = !votes;
}

if (source) {
  source.addEventListener("change", offer);
  kind.addEventListener("change", offer);
  offer();
}
