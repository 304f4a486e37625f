// Once the prompt has scrolled away, its last message stays at the top in two lines.

/** Watch the prompt of this task, and of no other any more. */
export function follow(node) {
  gone.disconnect();
  document.body.classList.remove("peeking");
  const prompt = node.querySelector(".prompt");
  if (prompt) gone.observe(prompt);
}

const gone = new IntersectionObserver((seen) => {
  const { isIntersecting, target } = seen.at(-1);
  target.parentElement.querySelector(".peek").hidden = isIntersecting;
  document.body.classList.toggle("peeking", !isIntersecting);
});
