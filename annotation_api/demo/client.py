"""The engineer of the demo: a small REST client that shows what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from annotation_api.demo.bars import Bar, Whole
from annotation_api.http.patience import Patient

POLL = 0.5  # seconds between two looks at a job
FINISHED = {"succeeded", "failed", "cancelled"}


class DemoFailed(Exception):
    """The loop cannot go on; the message says where and why."""


class Engineer:
    """A REST client with the few verbs that the demo needs; prints what it waits for."""

    def __init__(self, url: str, api_key: str, console: Console, tend: Callable[[], None], whole: Whole) -> None:
        headers = {"Authorization": f"Bearer {api_key}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=60, transport=Patient())
        self.console, self.tend, self.whole = console, tend, whole

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
        with self.bar(title) as bar:
            while True:
                self.tend()
                row: dict[str, Any] = self.get(f"/v1/jobs/{job}")
                at = row.get("progress") or {}
                bar.update(at.get("step", 0), at.get("total"), _note(row))
                if row["state"] in FINISHED:
                    break
                time.sleep(POLL)
        if row["state"] != "succeeded":
            error = row.get("error") or {}
            raise DemoFailed(f"{title}: job {job} {row['state']}: {error.get('cause')} {error.get('next_step') or ''}")
        return row

    def bar(self, title: str) -> Bar:
        return Bar(self.console, self.whole, title)

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_error:
            raise DemoFailed(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
        return answer


def _note(row: dict[str, Any]) -> str:
    at = row.get("progress") or {}
    left = f", {at['seconds_left']:.0f} s left" if at.get("seconds_left") is not None else ""
    metrics = "  ".join(f"{k} {v:.3g}" for k, v in list((at.get("metrics") or {}).items())[:4] if v is not None)
    where = row["state"] + (f" ({row['reason']})" if row.get("reason") else "")
    return f"{at.get('phase') or where}{left}  {metrics}"
