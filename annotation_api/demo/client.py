"""The engineer of the demo: a small REST client that shows what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from annotation_api.http.patience import Patient

POLL = 0.5  # seconds between two looks at a job
FINISHED = {"succeeded", "failed", "cancelled"}


class DemoFailed(Exception):
    """The loop cannot go on; the message says where and why."""


class Engineer:
    """A REST client with the few verbs that the demo needs; prints what it waits for."""

    def __init__(self, url: str, api_key: str, console: Console, tend: Callable[[], None]) -> None:
        headers = {"Authorization": f"Bearer {api_key}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=60, transport=Patient())
        self.console, self.tend = console, tend

    def get(self, path: str) -> Any:
        return self._checked(self.http.get(path)).json()

    def post(self, path: str, body: Any) -> Any:
        return self._checked(self.http.post(path, json=body)).json()

    def upload(self, path: Path, kind: str) -> str:
        """Import a file of canonical records; the data set's id."""
        with path.open("rb") as file:
            answer = self.http.post(
                "/v1/datasets", files={"file": (path.name, file)}, data={"kind": kind, "format": "jsonl"}
            )
        return str(self._checked(answer).json()["dataset"])

    def lines(self, path: str) -> list[str]:
        return self._checked(self.http.get(path)).text.splitlines()

    def wait(self, job: str, title: str) -> dict[str, Any]:
        """Show the job's progress until it ends; its row. Raises DemoFailed unless it succeeded."""
        with self.bar(title) as (progress, bar):
            while True:
                self.tend()
                row: dict[str, Any] = self.get(f"/v1/jobs/{job}")
                at = row.get("progress") or {}
                progress.update(bar, total=at.get("total"), completed=at.get("step", 0), note=_note(row))
                if row["state"] in FINISHED:
                    break
                time.sleep(POLL)
        if row["state"] != "succeeded":
            error = row.get("error") or {}
            raise DemoFailed(f"{title}: job {job} {row['state']}: {error.get('cause')} {error.get('next_step') or ''}")
        return row

    def bar(self, title: str) -> _Bar:
        return _Bar(self.console, title)

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_error:
            raise DemoFailed(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
        return answer


class _Bar:
    """A progress bar with a note on a terminal; everywhere one line when it ends."""

    def __init__(self, console: Console, title: str) -> None:
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.console, self.title = console, title
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def __enter__(self) -> tuple[Progress, Any]:
        self.began = time.monotonic()
        self.progress.start()
        return self.progress, self.progress.add_task(self.title, total=None, note="")

    def __exit__(self, kind: object, *_: object) -> None:
        self.progress.stop()
        word = "stopped" if kind else "done"
        self.console.print(f"{self.title:<34} {word} in {time.monotonic() - self.began:6.1f} s", highlight=False)


def _note(row: dict[str, Any]) -> str:
    at = row.get("progress") or {}
    left = f", {at['seconds_left']:.0f} s left" if at.get("seconds_left") is not None else ""
    metrics = "  ".join(f"{k} {v:.3g}" for k, v in list((at.get("metrics") or {}).items())[:4] if v is not None)
    where = row["state"] + (f" ({row['reason']})" if row.get("reason") else "")
    return f"{at.get('phase') or where}{left}  {metrics}"
