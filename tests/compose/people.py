"""Who works with the service that runs in containers: its first admin, over REST."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.compose.docker import Docker
from tests.compose.stack import Stack
from tests.journey.rig import COMMON, PPO, PROMPTS, record_of
from tests.support.alignment import tiny
from tests.support.engine_room import poll

LIMIT = 300.0  # seconds for a pipeline
LINK = re.compile(r"/setup/([\w-]+)")
SHORT = COMMON | {"save_every": 2}
CONFIG = {"sft": SHORT, "reward": SHORT, "ppo": SHORT | PPO | {"updates": 2, "evaluate_every": 2}}


class Admin:
    """Made by the link that the log of `migrate` shows."""

    def __init__(self, stack: Stack, log: str) -> None:
        self._stack, found = stack, LINK.search(log)
        assert found, log
        new = {"email": "root@example.org", "name": "Root", "password": "correct horse battery"}
        with httpx.Client(base_url=self.url, timeout=60) as browser:
            _fine(browser.post(f"/v1/invitations/{found[1]}:accept", json=new))
            browser.headers["Origin"] = self.url
            self.key = _fine(browser.post("/v1/api-keys", json={"name": "journey"})).json()["key"]

    @property
    def url(self) -> str:
        return self._stack.url("api", "8000")

    @property
    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60)

    def get(self, path: str) -> Any:
        with self.http as http:
            return _fine(http.get(path)).json()

    def post(self, path: str, body: Any) -> Any:
        with self.http as http:
            return _fine(http.post(path, json=body)).json()

    def upload(self, kind: str) -> dict[str, str]:
        lines = "".join(f"{record_of(kind, number, text).canonical()}\n" for number, text in enumerate(PROMPTS))
        files, form = {"file": (f"{kind}.jsonl", lines.encode())}, {"kind": kind, "format": "jsonl"}
        with self.http as http:
            return {"dataset": _fine(http.post("/v1/datasets", files=files, data=form)).json()["dataset"]}

    def ready(self) -> tuple[str, str, str]:
        """What /readyz says: its status, of the dispatcher and of Ray."""
        body = self.get("/readyz")
        return body["status"], body["parts"]["dispatcher"], body["parts"]["ray"]

    def wait_ready(self, seconds: float = 120.0) -> float:
        """Seconds until a job could run."""
        began = time.monotonic()
        poll(lambda: self._status() == "ok", "the service to be ready", self._status, seconds)
        return time.monotonic() - began

    def _status(self) -> str:
        """One word of /readyz, or why there is none: a service that is being started lets nobody in."""
        with self.http as http:
            try:
                answer = http.get("/readyz")
            except httpx.TransportError as error:
                return f"no answer: {error}"
        return str(answer.json()["status"]) if answer.is_success else f"{answer.status_code} {answer.text}"

    def wait(self, path: str, *states: str, until: Any = lambda row: True, limit: float = LIMIT) -> Any:
        """The job or pipeline at `path` once it is in one of these states."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            row = self.get(path)
            if row["state"] in states and until(row):
                return row
            assert row["state"] not in ("failed", "cancelled"), row
            time.sleep(0.3)
        raise AssertionError(f"waited {limit:.0f} s for {row}")


@dataclass
class Running:
    stack: Stack
    docker: Docker
    lines: dict[str, str]  # of docs/deploy.md
    admin: Admin
    began: float  # time.monotonic() before anything was there
    _base: str = ""

    def base(self) -> dict[str, str]:
        """A tiny base model, brought into the volume as docs/deploy.md says, and registered."""
        if not self._base:
            tiny.save(tiny.causal(), self.stack.project / "my-model")
            self.docker.shell(self.lines["model"])
            path = "/var/lib/rankloop/models/my-model"
            self._base = self.admin.post("/v1/models", {"name": "tiny", "path": path})["id"]
        return {"model": self._base}

    def pipeline(self) -> str:
        """Three stages on a base model and on data of its own; its path."""
        body = {
            "model": self.base(),
            "demonstrations": self.admin.upload("demonstrations"),
            "preferences": self.admin.upload("rankings"),
            "gpus": 0,
            "config": CONFIG,
        }
        return f"/v1/pipelines/{self.admin.post('/v1/pipelines', body)['id']}"


def _fine(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, f"{answer.status_code} {answer.text}"
    return answer


def files_of(volume: Path) -> dict[str, int]:
    """Every file of a volume and its owner."""
    return {str(path.relative_to(volume)): path.stat().st_uid for path in volume.rglob("*") if path.is_file()}
