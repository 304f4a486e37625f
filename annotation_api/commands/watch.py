"""Follows a job on the terminal: a live bar with stage, step, rate, time left and key metrics.

Where standard output is no terminal, a line for each change of state, each note and the last step
of each phase; with `--json`, every event as one line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from annotation_api.client import Client, JobEvent
from annotation_api.commands.output import emit

METRICS_SHOWN = 4


def watch(client: Client, job: str, *, as_json: bool) -> dict[str, Any]:
    """Show the job until it ends; its row."""
    row: dict[str, Any] = client.get(f"/v1/jobs/{job}")
    events = client.events(job)
    if as_json:
        _as_json(job, events)
    elif sys.stdout.isatty():
        _as_bar(row["stage"], events)
    else:
        _as_lines(row["stage"], events)
    ended: dict[str, Any] = client.get(f"/v1/jobs/{job}")
    if not as_json:
        print(verdict(ended), flush=True)
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


def _as_json(job: str, events: Iterator[JobEvent]) -> None:
    for event in events:
        emit({"job": job, "id": event.id, "type": event.type, "data": event.data})


def _as_lines(stage: str, events: Iterator[JobEvent]) -> None:
    phase: dict[str, Any] = {}
    for event in events:
        if event.type == "progress":
            if phase and phase["phase"] != event.data["phase"]:
                print(f"{stage}: {_step(phase)}", flush=True)
            phase = event.data
        elif event.type in ("state", "note"):
            print(f"{stage}: {_news(event)}", flush=True)
    if phase:
        print(f"{stage}: {_step(phase)}", flush=True)


def _as_bar(stage: str, events: Iterator[JobEvent]) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
    )
    with ExitStack() as stack:
        bar = stack.enter_context(Progress(*columns))
        task = bar.add_task(stage, total=None, facts="")
        for event in events:
            if event.type == "progress":
                at = event.data
                bar.update(
                    task,
                    description=f"{stage} {at['phase']}",
                    completed=at["step"],
                    total=at["total"],
                    facts=_facts(at),
                )
            elif event.type in ("state", "note"):
                bar.console.print(f"{stage}: {_news(event)}", markup=False, highlight=False)


def _news(event: JobEvent) -> str:
    if event.type == "note":
        return str(event.data.get("message", ""))
    reason = event.data.get("reason")
    return f"{event.data.get('state')}{f' ({reason})' if reason else ''}"


def _step(at: dict[str, Any]) -> str:
    return f"{at['phase']} {at['step']}/{at['total']}  {_facts(at)}".rstrip()


def _facts(at: dict[str, Any]) -> str:
    """Rate, time left, device and the first few metrics."""
    left = at.get("seconds_left")
    parts = [
        f"{at['rate']:.3g}/s" if at.get("rate") else "",
        f"{left:.0f} s left" if left is not None else "",
        str(at.get("device") or ""),
        _metrics(at.get("metrics") or {}, METRICS_SHOWN),
    ]
    return "  ".join(part for part in parts if part)


def _metrics(metrics: dict[str, Any], most: int) -> str:
    numbers = [(name, value) for name, value in metrics.items() if isinstance(value, int | float)]
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers[:most])
