"""The stage of `job_chaos`, and a dispatcher whose launchers are forks of itself.

    python -m tests.journey.chaos_stage

A fork is a process of its own with the launcher's own code, but without the second that loading it takes. A job's
seed stands for its data: the file that it leaves says whose it is, so that a mix-up would be seen.
"""

from __future__ import annotations

import os
import random
import sys
import time
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import psutil

from alignment import checkpoint
from alignment.config import Stage
from alignment.events import Meter, Reporter, SavedCheckpoint, StageResult
from workers import __main__ as dispatcher
from workers import launcher, processes
from workers.dispatcher import Dispatcher, Held

STEPS = 3
WEIGHTS = "model.safetensors"


def weights(seed: int) -> bytes:
    """What the job with this seed must leave."""
    return f"weights of job {seed}\n".encode() * 50


def run(stage: Stage, config: dict[str, Any], inputs: dict[str, Any], out_dir: Path, reporter: Reporter) -> StageResult:
    """Three quick steps, a checkpoint after each."""
    meter, folder = Meter(reporter, "train", STEPS), Path(inputs["checkpoints"])
    for step in range(1, STEPS + 1):
        meter.step({"loss": 1.0 / step})
        reporter.checkpoint(save(folder, config["seed"], step))
    (out_dir / WEIGHTS).write_bytes(weights(config["seed"]))
    return StageResult(stage.value, {"loss": 0.25})


def save(folder: Path, seed: int, step: int) -> SavedCheckpoint:
    name, began = f"checkpoint-{step}", time.monotonic()
    staging = folder / f"{name}.partial"
    staging.mkdir()
    (staging / WEIGHTS).write_bytes(weights(seed))
    digest = checkpoint.publish(staging, folder / name)
    return SavedCheckpoint(name, step, digest, len(weights(seed)), time.monotonic() - began)


class Fork:
    """As much of a Popen as a dispatcher looks at."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


class ForkingDispatcher(Dispatcher):
    def spawn(self, job_id: uuid.UUID, epoch: int, output: IO[bytes]) -> Any:
        if pid := os.fork():
            return Fork(pid)
        code = 1
        try:
            os.setsid()
            for descriptor in (1, 2):
                os.dup2(output.fileno(), descriptor)
            random.seed()  # a fork draws what its parent would have drawn
            from tests.journey import chaos_stage  # as the stage's process must find it, not as __main__

            code = launcher.main([str(job_id), str(epoch)], chaos_stage.run)
        finally:
            os._exit(code)  # without a word to the parent's connections

    def _lives(self, held: Held, reporting: Collection[str]) -> bool:
        """A fork has its dispatcher's command line, by which nobody would know it."""
        launcher = processes.find(held.pid) if held.worker not in reporting else None
        return super()._lives(held, reporting) or (launcher is not None and launcher.status() != psutil.STATUS_ZOMBIE)


if __name__ == "__main__":
    sys.exit(dispatcher.main(make=ForkingDispatcher))
