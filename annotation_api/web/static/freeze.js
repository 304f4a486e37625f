// The progress of a freeze, until it has ended; then the page says what came of it.
const bar = document.querySelector("progress[data-freeze]");

async function look() {
  const answer = await fetch(`/v1/freezes/${bar.dataset.freeze}`);
  if (!answer.ok) return;
  const row = await answer.json();
  bar.max = row.total || 1;
  bar.value = row.done;
  if (row.finished_at) location.reload();
}

if (bar) setInterval(look, 2000);
