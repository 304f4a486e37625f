"""A running service with a tiny base model and data for every stage, and an engineer's client for it."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil

from alignment.shared.records import Demonstration, Prompt, Ranking, Record
from annotation_api.settings import Settings
from annotation_api.up import Service
from tests.support.alignment import tiny

LIMIT = 900.0  # seconds for one job
PROMPTS = [f"w{a} w{b} w{c}" for a in range(4) for b in range(4) for c in range(4)]
COMMON = {"batch_size": 8, "micro_batch_size": 4, "max_length": 48, "save_every": 1}
WHY = "Words without a meaning: this run shows that nothing is lost, not a policy."
PPO = {"max_response_length": 12, "evaluate_every": 5, "accept_reward_model": WHY, "max_kl": 1e6, "learning_rate": 1e-4}


class Rig:
    """`with Rig() as rig:` The environment's RANKLOOP settings hold, but for the home."""

    def __enter__(self) -> Rig:
        with ExitStack() as undo:
            self.folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="rankloop-rig-")))
            self.folder.chmod(0o755)  # the database server may run under another account
            base = tiny.save(tiny.causal(attention_dropout=0.1), self.folder / "models" / "base")
            found = Settings.from_environment()
            settings = found.model_copy(update={"home": self.folder / "home", "model_roots": (self.folder / "models",)})
            self.service = undo.enter_context(Service(settings, "127.0.0.1", 0))
            headers = {"Authorization": f"Bearer {self.service.api_key}"}
            self.http = undo.enter_context(httpx.Client(base_url=self.service.url, headers=headers, timeout=60))
            self.base = {"model": self.post("/v1/models", {"name": "tiny", "path": str(base)})["id"]}
            self.data = {"demonstrations": self.upload("demonstrations"), "rankings": self.upload("rankings")}
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def post(self, path: str, body: Any) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def upload(self, kind: str) -> dict[str, str]:
        """Import one record for each prompt."""
        lines = "".join(f"{record_of(kind, number, text).canonical()}\n" for number, text in enumerate(PROMPTS))
        files, form = {"file": (f"{kind}.jsonl", lines.encode())}, {"kind": kind, "format": "jsonl"}
        answer = self.http.post("/v1/datasets", files=files, data=form)
        assert answer.is_success, answer.text
        return {"dataset": answer.json()["dataset"]}

    def job(self, stage: str, config: dict[str, Any], **inputs: Any) -> str:
        """Queue a stage on the base model; its id."""
        body = {"stage": stage, "inputs": {"model": self.base, **inputs}, "config": COMMON | config, "gpus": 0}
        return str(self.post("/v1/jobs", body)["id"])

    def row(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/v1/jobs/{job}")
        return found

    def wait(self, job: str, *, step: int | None = None) -> dict[str, Any]:
        """The job's row once it has succeeded, or once it runs and has come to `step`."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            self.service.tend()
            row = self.row(job)
            at = (row["progress"] or {}).get("step", 0)
            if row["state"] == "succeeded" or (step is not None and row["state"] == "running" and at >= step):
                return row
            assert row["state"] not in ("failed", "cancelled"), row["error"]
            time.sleep(0.1)
        raise AssertionError(f"waited {LIMIT:.0f} s for {self.row(job)}")

    def weights(self, job: str) -> dict[str, str]:
        """The hash of each file of weights that the job left."""
        files = self.get(f"/v1/jobs/{job}/artifacts")
        return {file["name"]: file["sha256"] for file in files if file["name"].endswith(".safetensors")}


def launcher_of(job: str) -> psutil.Process | None:
    """The process that runs the job's attempt now."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "workers.attempt.launcher" in command and job in command:
            return process
    return None


def record_of(kind: str, number: int, text: str) -> Record:
    """A demonstration or a ranking."""
    prompt, good, bad = Prompt.from_text(text), f"w{5 + number % 5}", f"w{12 + number % 7}"
    if kind == "demonstrations":
        return Demonstration(prompt=prompt, response=f"{good} w{number % 3}")
    return Ranking(prompt=prompt, responses=(good, bad), groups=((0,), (1,)))
