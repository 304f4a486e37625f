"""What a job would do and take, told before it is made: optimizer steps, GPUs, disk."""

from __future__ import annotations

import math
from pathlib import Path

from alignment.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig
from annotation_api.jobs.door import Prepared
from annotation_api.jobs.schemas import Estimate


def estimate(job: Prepared, gpus: float) -> Estimate:
    """Steps are optimizer steps (PPO: updates, sampling: batches); disk is the artifact's size."""
    return Estimate(
        config=job.config.model_dump(mode="json"),
        rows=job.rows,
        steps=_steps(job),
        gpus=gpus,
        disk_bytes=_weights(job.start) if job.start else None,
    )


def _steps(job: Prepared) -> int | None:
    config, rows = job.config, job.rows
    if isinstance(config, SFTConfig):
        return math.ceil(rows * config.epochs / config.batch_size)
    if isinstance(config, RewardConfig):
        return math.ceil(rows * (1 - config.heldout_fraction) * config.epochs / config.batch_size)
    if isinstance(config, PPOConfig):
        return config.updates
    if isinstance(config, SampleConfig):
        return math.ceil(rows * config.draws * len(job.inputs["models"]) / config.batch_size)
    return None


def _weights(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
