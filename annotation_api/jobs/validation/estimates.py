"""What a job would do and take, told before it is made: optimizer steps, GPUs, disk, memory (shared/memory.py)."""

from __future__ import annotations

import math

from alignment.shared.config import InstructConfig, PPOConfig, RewardConfig, SampleConfig, SFTConfig, TrainingConfig
from alignment.shared.memory import FLOAT, ModelShape, OnDevice, checkpoint_of, instead, memory_of, trained_of
from alignment.shared.methods import ADAPTERS
from alignment.shared.on_data.prepare import PrepareConfig
from alignment.shared.settings import AdapterSettings, LoRAConfig
from annotation_api.jobs.schemas import Estimate, MemoryEstimate
from annotation_api.jobs.validation.shapes import adapters_of, shape_of, trained_in_bits
from annotation_api.jobs.validation.validator import ValidatedJob

ON_DISK = 3  # checkpoints of a run at one time: two are kept while the next is written


def estimate(job: ValidatedJob, gpus: float) -> Estimate:
    """Steps are optimizer steps (PPO: updates, sampling: batches)."""
    shapes = {role: shape_of(folder) for role, folder in job.folders.items()}
    artifact, saved = _artifact(job, shapes), _checkpoint(job, shapes)
    return Estimate(
        config=job.config.model_dump(mode="json"),
        rows=job.rows,
        steps=_steps(job),
        gpus=gpus,
        disk_bytes=None if artifact is None or saved is None else artifact + ON_DISK * saved,
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


def _artifact(job: ValidatedJob, shapes: Shapes) -> int | None:
    """The models that it leaves, as large as the one that it starts from, or as the adapters that it trains."""
    if isinstance(job.config, SampleConfig | PrepareConfig | InstructConfig):
        return 0
    members = job.config.members if isinstance(job.config, RewardConfig) else 1
    start, shape = job.folders.get("model"), shapes.get("model")
    if isinstance(job.config, AdapterSettings) and job.config.save_adapter:
        return members * FLOAT * trained_of(job.config, shape) if shape else None
    whole = (adapters_of(start) or start) if start else None
    return members * sum(file.stat().st_size for file in whole.glob("*.safetensors")) if whole else None


def _checkpoint(job: ValidatedJob, shapes: Shapes) -> int | None:
    if not isinstance(job.config, TrainingConfig):
        return 0
    known = _known(job.config, shapes)
    return None if known is None else checkpoint_of(job.config, known)


def _memory(job: ValidatedJob, shapes: Shapes, gpus: float) -> MemoryEstimate | None:
    """None where a model that the stage loads is not there yet."""
    known = _known(job.config, shapes) if isinstance(job.config, TrainingConfig) else None
    if known is None or not isinstance(job.config, TrainingConfig):
        return None
    machine = OnDevice(gpus, _on_one_base(job))
    found = memory_of(job.config, known, machine)
    return MemoryEstimate(
        weights=found.weights,
        roles=dict(found.roles),
        gradients=found.gradients,
        optimizer=found.optimizer,
        activations=found.activations,
        logits=found.logits,
        cache=found.cache,
        rollout_copy=found.rollout_copy,
        host=found.host,
        judge_apart=found.roles["reward_model"] if _stands_apart(job.config, machine) else 0,
        total=found.total,
        instead=dict(instead(job.config, known, machine)),
    )


def _known(config: TrainingConfig, shapes: Shapes) -> dict[str, ModelShape] | None:
    roles = ("model", "reward_model") if isinstance(config, PPOConfig) else ("model",)
    found = {role: shape for role in roles if (shape := shapes.get(role))}
    return found if len(found) == len(roles) else None


def _stands_apart(config: TrainingConfig, machine: OnDevice) -> bool:
    return isinstance(config, PPOConfig) and config.tuned in ADAPTERS and not machine.judge_on_base


def _on_one_base(job: ValidatedJob) -> bool:
    """Whether the reward model is adapters on the very model that the policy begins from, held in as many bits."""
    policy, judge = job.folders.get("model"), job.folders.get("reward_model")
    base = adapters_of(judge) if judge else None
    if policy is None or judge is None or base is None or base.resolve() != policy.resolve():
        return False
    light = job.config.light if isinstance(job.config, TrainingConfig) else None
    return trained_in_bits(judge) == (light.bits if isinstance(light, LoRAConfig) else None)
