// The form to freeze offers what the chosen source can have, and nothing else.

const source = document.querySelector("select[name=source]");
const kind = document.querySelector("select[name=kind]");

function offer() {
  const fits = new Set(source.selectedOptions[0].dataset.kinds.split(" "));
  for (const option of kind.options) option.hidden = option.disabled = !fits.has(option.value);
  if (kind.selectedOptions[0]?.disabled ?? true) kind.value = [...kind.options].find((option) => !option.disabled)?.value ?? "";
}

if (source) {
  source.addEventListener("change", offer);
  offer();
}
