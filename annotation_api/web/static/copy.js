// A button beside a link that is shown once: copies it, also where the page is not served over TLS.

for (const button of document.querySelectorAll("[data-copies]")) {
  const field = button.parentElement.querySelector("input.copy");
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    await navigator.clipboard?.writeText(field.value).catch(() => document.execCommand("copy")) ?? document.execCommand("copy");
    button.textContent = button.dataset.done;
  });
}
