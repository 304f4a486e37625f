"""What a job would do and take, told before it is made: optimizer steps, GPUs, disk, memory.

Memory follows Rajbhandari et al. 2020 (ZeRO, section 3) for what the models take: trained weights are float32
with a gradient and AdamW's two moments; frozen ones are bfloat16 on a GPU, float32 on a CPU. Activations
follow Korthikanti et al. 2022, eq. 1 without its attention term (the attention that we use keeps no scores),
and are a rule of thumb.
"""

from __future__ import annotations

import math

from alignment.shared.config import (
    PPOConfig,
    PrepareConfig,
    RewardConfig,
    SampleConfig,
    SFTConfig,
    SharedConfig,
    TrainingConfig,
)
from alignment.shared.ppo_config import CPU_LANES
from annotation_api.jobs.schemas import Estimate, MemoryEstimate
from annotation_api.jobs.validation.shapes import ModelShape, shape_of
from annotation_api.jobs.validation.validator import ValidatedJob

FLOAT, HALF = 4, 2  # bytes of a number
KEPT = 2  # checkpoints of a run
PAIR = 2  # responses of a prompt in one forward pass, at least


def estimate(job: ValidatedJob, gpus: float) -> Estimate:
    """Steps are optimizer steps (PPO: updates, sampling: batches)."""
    shapes = {role: shape_of(folder) for role, folder in job.folders.items()}
    artifact, saved = _artifact(job), _checkpoint(job, shapes)
    return Estimate(
        config=job.config.model_dump(mode="json"),
        rows=job.rows,
        steps=_steps(job),
        gpus=gpus,
        disk_bytes=None if artifact is None or saved is None else artifact + KEPT * saved,
        artifact_bytes=artifact,
        checkpoint_bytes=saved,
        memory=_memory(job, shapes, gpus),
    )


def _steps(job: ValidatedJob) -> int | None:
    config, rows = job.config, job.rows
    if isinstance(config, SFTConfig):
        return math.ceil(rows * config.epochs / config.batch_size)
    if isinstance(config, RewardConfig):
        return config.members * math.ceil(rows * (1 - config.heldout_fraction) * config.epochs / config.batch_size)
    if isinstance(config, PPOConfig):
        return config.updates
    if isinstance(config, SampleConfig):
        return math.ceil(rows * config.draws * len(job.inputs["models"]) / config.batch_size)
    return None


Shapes = dict[str, ModelShape | None]


def _artifact(job: ValidatedJob) -> int | None:
    """The models that it leaves, as large as the one that it starts from."""
    if isinstance(job.config, SampleConfig | PrepareConfig):
        return 0
    start = job.folders.get("model")
    members = job.config.members if isinstance(job.config, RewardConfig) else 1
    return members * sum(file.stat().st_size for file in start.glob("*.safetensors")) if start else None


def _checkpoint(job: ValidatedJob, shapes: Shapes) -> int | None:
    """Trained weights with AdamW's moments; for PPO also the critic's."""
    if not isinstance(job.config, TrainingConfig):
        return 0
    trained = _trained_by_role(job.config, shapes)
    return None if trained is None else 3 * FLOAT * sum(trained.values())


def _trained_by_role(config: TrainingConfig, shapes: Shapes) -> dict[str, int] | None:
    """Trained numbers of the model, and for PPO of the critic, which begins as the reward model."""
    roles = ("model", "reward_model") if isinstance(config, PPOConfig) else ("model",)
    found = {role: shapes.get(role) for role in roles}
    if not all(found.values()):
        return None
    return {role: _trained(config, shape) for role, shape in found.items() if shape}


def _trained(config: TrainingConfig, shape: ModelShape) -> int:
    if isinstance(config, RewardConfig) and config.frozen_trunk:
        return shape.width
    return shape.linear * config.lora.rank if config.lora else shape.weights


def _memory(job: ValidatedJob, shapes: Shapes, gpus: float) -> MemoryEstimate | None:
    if not isinstance(job.config, TrainingConfig):
        return None
    trained = _trained_by_role(job.config, shapes)
    if trained is None:
        return None
    weights = _weights(job.config, {role: shape for role, shape in shapes.items() if shape}, trained, gpus)
    numbers = sum(trained.values())
    lanes = _lanes(job.config, gpus)
    activations = lanes * max(_activations(job.config, shape, gpus) for shape in shapes.values() if shape)
    parts = {"weights": weights, "gradients": lanes * FLOAT * numbers, "optimizer": 2 * FLOAT * numbers}
    if isinstance(job.config, SharedConfig) and job.config.shard_weights and gpus > 1:
        parts = {name: math.ceil(size / gpus) for name, size in parts.items()}
    return MemoryEstimate(**parts, activations=activations, total=sum(parts.values()) + activations)


def _lanes(config: TrainingConfig, gpus: float) -> int:
    """Micro-batches at a time."""
    cut = isinstance(config, PPOConfig) and config.batch_size // config.mini_batches > config.micro_batch_size
    return CPU_LANES if cut and not gpus else 1


def _weights(config: TrainingConfig, shapes: dict[str, ModelShape], trained: dict[str, int], gpus: float) -> int:
    """Of all models: with adapters the base is frozen; PPO has a reference (else the base) and a frozen judge."""
    frozen = HALF if gpus else FLOAT
    whole = config.lora is None and not (isinstance(config, RewardConfig) and config.frozen_trunk)
    total = sum((FLOAT if whole else frozen) * shapes[role].weights for role in trained)
    total += 0 if whole else FLOAT * sum(trained.values())
    if isinstance(config, PPOConfig):
        total += frozen * shapes["reward_model"].weights + (FLOAT * shapes["model"].weights if whole else 0)
    return total


def _activations(config: TrainingConfig, shape: ModelShape, gpus: float) -> int:
    """Of one micro-batch of texts of full length."""
    texts = config.micro_batch_size * (PAIR if isinstance(config, RewardConfig) else 1)
    tokens, number = texts * config.max_length, HALF if gpus else FLOAT
    layer = 17 * number * tokens * shape.width  # 34 bytes at two a number
    kept = number * tokens * shape.width * shape.layers + layer if config.gradient_checkpointing else None
    head = 0 if isinstance(config, RewardConfig) else 2 * FLOAT * tokens * shape.vocabulary  # logits, their gradient
    return head + (layer * shape.layers if kept is None else kept)
