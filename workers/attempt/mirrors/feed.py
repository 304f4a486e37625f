"""What a launcher tells trackers of its attempt: parameters, metrics, and by reference what it left.

Each tracker has a process of its own (`mirrors.process`), so that one that is away, slow, refuses or is full can
neither fail nor slow a job: lines go into a queue that never waits, what does not fit is dropped and counted, and at
the end a mirror has CLOSE_SECONDS to catch up before it is ended. What went wrong stands in the attempt's log.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alignment.shared.events import StageProgress
from annotation_api.db.jobs.differences import flat
from annotation_api.db.tables import Job
from annotation_api.worker_settings import MirrorKind, WorkerSettings

MOST_WAITING = 5000  # lines that a tracker may be behind
CLOSE_SECONDS = 30.0  # for all mirrors together, after the end of the job is written: a client takes 10 s to load

log = logging.getLogger(__name__)
Line = Mapping[str, Any]


class Mirror:
    """One tracker's process and the queue before it. No method waits for it but `close`; none raises."""

    def __init__(self, kind: MirrorKind, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.kind, self._lost = kind, 0
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._process = self._start(command, environment)
        self._pump = threading.Thread(target=self._write, name=f"mirror {kind}", daemon=True)
        self._pump.start()

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str] | None:
        try:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=dict(environment), text=True
            )
        except OSError as error:
            log.warning("The mirror to %s cannot be started: %s. The job goes on without it.", self.kind, error)
            return None

    def tell(self, line: Line) -> None:
        """Put it in the queue; beyond MOST_WAITING it is dropped and counted."""
        try:
            self._lines.put_nowait(json.dumps(line, default=str))
        except queue.Full:
            self._lost += 1

    def _write(self) -> None:
        """In a thread of its own: into the process until there is no more; what comes after its end is dropped."""
        process = self._process
        gone = process is None or process.stdin is None
        for text in iter(self._lines.get, None):
            gone = gone or not self._sent(text)
        if not gone:
            self._sent(None)

    def _sent(self, text: str | None) -> bool:
        """Write a line, or say that it was the last; False once the process has ended, whose words are in the log."""
        assert self._process is not None, "it was started"
        assert self._process.stdin is not None, "with a pipe"
        try:
            if text is None:
                self._process.stdin.close()
            else:
                self._process.stdin.write(text + "\n")
                self._process.stdin.flush()
        except (OSError, ValueError):
            return False
        return True

    def close(self, until: float) -> None:
        """Let it catch up until then, and say what it missed."""
        if self._process is None:
            return
        try:
            self._lines.put(None, timeout=max(0.0, until - time.monotonic()))
            code = self._process.wait(max(0.0, until - time.monotonic()))
        except (queue.Full, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
            log.warning("The mirror to %s did not catch up in %g s; it was ended.", self.kind, CLOSE_SECONDS)
            return
        if code:
            log.warning(
                "The mirror to %s ended with %d; its last words stand above. The job is whole.", self.kind, code
            )
        if self._lost:
            log.warning("The mirror to %s was too slow: %d lines were left out.", self.kind, self._lost)


class Mirrors:
    """All mirrors of an attempt; without any, every method does nothing."""

    def __init__(self, settings: WorkerSettings, home: Path) -> None:
        self._settings, self._home = settings, home
        self._mirrors: list[Mirror] = []
        self._end: dict[str, Any] = {"type": "end", "state": "ended", "metrics": {}, "files": []}

    def start(self, job: Job, epoch: int) -> None:
        """Begin a run in each tracker, with the job's parameters."""
        about = {
            "type": "start",
            "job": str(job.id),
            "epoch": epoch,
            "name": f"{job.name or job.stage.value} {str(job.id)[:8]}" + (f" attempt {epoch}" if epoch > 1 else ""),
            "stage": job.stage.value,
            "tags": list(job.tags),
            "parameters": dict(flat(job.config)) | {"gpus": job.gpus},
            "inputs": dict(flat(job.inputs)),
            "project": self._settings.mirror_project,
            "folder": str(self._home / "mirrors"),
            "address": self._settings.mlflow_uri,
            "online": self._settings.wandb_online,
        }
        for kind in self._settings.mirrors:
            mirror = Mirror(kind, command_of(kind), environment_of(kind, self._settings))
            mirror.tell(about)
            self._mirrors.append(mirror)

    def metrics(self, progress: Sequence[StageProgress]) -> None:
        """Every step's numbers."""
        for line in progress if self._mirrors else ():
            told = {"type": "metrics", "phase": line.phase, "step": line.step, "metrics": dict(line.metrics)}
            for mirror in self._mirrors:
                mirror.tell(told)

    def ended(self, state: str, metrics: Mapping[str, float] | None = None, files: Sequence[Line] = ()) -> None:
        """How the attempt ended, told when the mirrors are closed."""
        self._end |= {"state": state, "metrics": dict(metrics or {}), "files": list(files)}

    def close(self) -> None:
        until = time.monotonic() + CLOSE_SECONDS
        for mirror in self._mirrors:
            mirror.tell(self._end)
        for mirror in self._mirrors:
            mirror.close(until)


def command_of(kind: MirrorKind) -> list[str]:
    return [sys.executable, "-m", "workers.attempt.mirrors.process", kind.value]


# By what name each client wants the secret that we hold under ours.
SECRETS = {
    MirrorKind.MLFLOW: ("MLFLOW_TRACKING_TOKEN", "mlflow_token"),
    MirrorKind.WANDB: ("WANDB_API_KEY", "wandb_key"),
}


def environment_of(kind: MirrorKind, settings: WorkerSettings) -> dict[str, str]:
    """This process's environment, and the one secret that this tracker needs."""
    name, field = SECRETS.get(kind, ("", ""))
    secret = getattr(settings, field) if field else None
    return dict(os.environ) | ({name: secret} if secret else {})
