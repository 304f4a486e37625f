"""Follows a job on the terminal: a live bar with stage, step, rate, time left and key metrics; while it
waits, what for and how long.

Where standard output is no terminal, a line for each change of state, each note and the last step
of each phase; with `--json`, every event as one line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from alignment.untrusted.texts import shown
from annotation_api.cli.client import Client
from annotation_api.cli.output import emit, remark, say, size, span
from annotation_api.cli.streamed import StreamedEvent

METRICS_SHOWN = 4
STILL = ("blocked", "queued", "starting", "paused")  # nothing moves
REASONS = {
    "waiting_gpu": "waiting for a GPU",
    "infeasible": "no machine can give what it asks for",
    "loading": "loading",
}


def watch(client: Client, job: str, *, as_json: bool) -> dict[str, Any]:
    """Show the job until it ends; its row."""
    row: dict[str, Any] = client.get(f"/v1/jobs/{job}")
    lost = "The connection was lost; trying again."
    events = client.events(job, lost=lambda: None if as_json else remark(lost))
    if as_json:
        _as_json(job, events)
    elif sys.stdout.isatty():
        _as_bar(client, row, events)
    else:
        _as_lines(row["stage"], events)
    ended: dict[str, Any] = client.get(f"/v1/jobs/{job}")
    if not as_json:
        say(verdict(ended))
    return ended


def verdict(row: dict[str, Any]) -> str:
    """How the job ended, in one line."""
    head = f"{row['stage']} job {row['id']} {row['state']}"
    if row["state"] == "succeeded":
        result = row["result"] or {}
        made = f", model {result['model']}" if result.get("model") else ""
        return f"{head}{made}  {_metrics(result.get('metrics') or {}, 8)}".rstrip()
    error = row["error"] or {}
    return f"{head}: {error.get('cause', '')} {error.get('next_step') or ''}".rstrip()


def waits(row: dict[str, Any], now: datetime | None = None) -> str:
    """What keeps a job from running, and for how long; empty where nothing does.

    `waiting for a GPU for 2 min 5 s: all 4 GPUs are taken`
    """
    now = now or datetime.now(UTC)
    if row["state"] == "blocked":
        return f"waits for {', '.join(row['needs'])}"
    if row["state"] == "queued" and row["not_before"] and (rest := -_since(row["not_before"], now)) > 0:
        return f"is tried again in {span(rest)}"
    if not row["reason"]:
        return ""
    since = f" for {span(_since(row['reason_since'], now))}" if row["reason_since"] else ""
    detail = f": {row['reason_detail']}" if row["reason_detail"] else ""
    return f"{REASONS.get(row['reason'], row['reason'])}{since}{detail}"


def _since(moment: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(moment)).total_seconds()


def _as_json(job: str, events: Iterator[StreamedEvent]) -> None:
    for event in events:
        emit({"job": job, "id": event.id, "type": event.type, "data": event.data})


def _as_lines(stage: str, events: Iterator[StreamedEvent]) -> None:
    phase: dict[str, Any] = {}
    for event in events:
        if event.type == "progress":
            if phase and phase["phase"] != event.data["phase"]:
                say(f"{stage}: {_step(phase)}")
            phase = event.data
        elif news := _news(event):
            say(f"{stage}: {news}")
    if phase:
        say(f"{stage}: {_step(phase)}")


def _as_bar(client: Client, row: dict[str, Any], events: Iterator[StreamedEvent]) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Facts(ProgressColumn):
        """Drawn anew all the time, so that a wait is seen to grow."""

        def render(self, task: Task) -> Text:
            return Text(task.fields["facts"] or waits(task.fields["row"]))

    stage = row["stage"]
    columns = (TextColumn("{task.description:<18}", markup=False), BarColumn(28), MofNCompleteColumn(), Facts())
    with Progress(*columns) as bar:
        task = bar.add_task(f"{stage} {row['state']}", total=None, facts="", row=row)
        for event in events:
            if event.type == "progress":
                at = event.data
                bar.update(task, description=f"{stage} {at['phase']}", total=at["total"], completed=at["step"])
                bar.update(task, facts=_facts(at))
            elif news := _news(event):
                bar.console.print(shown(f"{stage}: {news}"), markup=False, highlight=False)
            if event.type == "state" and event.data["state"] in STILL:
                now = client.get(f"/v1/jobs/{row['id']}")
                if now["state"] in STILL:  # not an old event of a job that has long gone on
                    bar.update(task, description=f"{stage} {now['state']}", row=now, facts="")


def _news(event: StreamedEvent) -> str:
    """A line worth keeping; empty for the rest."""
    data = event.data
    if event.type == "note":
        return str(data.get("message", ""))
    if event.type == "checkpoint":
        return f"saved {data['name']} ({size(data['size'])}, {data['seconds']:.1f} s)"
    if event.type != "state":
        return ""
    reason, detail = data.get("reason"), data.get("detail")
    why = f" ({REASONS.get(reason, reason)}{f': {detail}' if detail else ''})" if reason else ""
    error = (data.get("error") or {}).get("cause", "") if data.get("state") in ("queued", "paused") else ""
    return f"{data.get('state')}{why}{f': {error}' if error else ''}"


def _step(at: dict[str, Any]) -> str:
    return f"{at['phase']} {at['step']}/{at['total']}  {_facts(at)}".rstrip()


def _facts(at: dict[str, Any]) -> str:
    """Rate, time left, device and the first few metrics."""
    left = at.get("seconds_left")
    parts = [
        f"{at['rate']:.3g}/s" if at.get("rate") else "",
        f"{span(left)} left" if left is not None else "",
        str(at.get("device") or ""),
        _metrics(at.get("metrics") or {}, METRICS_SHOWN),
    ]
    return "  ".join(part for part in parts if part)


def _metrics(metrics: dict[str, Any], most: int) -> str:
    numbers = [(name, value) for name, value in metrics.items() if isinstance(value, int | float)]
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers[:most])
