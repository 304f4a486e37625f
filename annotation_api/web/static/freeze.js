// The progress of a freeze or an erasure, until it has ended; then the page says what came of it.
const bar = document.querySelector("progress[data-progress]");

async function look() {
  const answer = await fetch(bar.dataset.progress);
  if (!answer.ok) return;
  const row = await answer.json();
  bar.max = row.total || 1;
  bar.value = row.done;
  if (row.finished_at) location.reload();
}

if (bar) setInterval(look, 2000);
