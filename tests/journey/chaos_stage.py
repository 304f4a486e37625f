"""The stage of `job_chaos`, light to load: its process starts thousands of times.

A job's seed stands for its data: the file that it leaves says whose it is, so that a mix-up would be seen.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from alignment.shared import artifact
from alignment.shared.config import Stage
from alignment.shared.events import Meter, Reporter, SavedCheckpoint, StageResult

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
    digest = artifact.publish(staging, folder / name)
    return SavedCheckpoint(name, step, digest, len(weights(seed)), time.monotonic() - began)
