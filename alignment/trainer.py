"""What the two TRL stages share: their common arguments, and the line from Trainer to Reporter."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from alignment.config import RewardConfig, SFTConfig
from alignment.events import ErrorKind, Meter, Reporter, StageError

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL's trainers send a usage ping otherwise


def common_arguments(config: SFTConfig | RewardConfig, scratch: Path) -> dict[str, Any]:
    """Trainer arguments from our settings; nothing is saved, pushed or reported but by us."""
    gpu = torch.cuda.is_available()
    together = config.micro_batch_size * int(os.environ.get("WORLD_SIZE", "1"))  # on all processes
    return {
        "output_dir": str(scratch),
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.micro_batch_size,
        "gradient_accumulation_steps": max(1, config.batch_size // together),
        "max_grad_norm": config.max_grad_norm,
        "weight_decay": config.weight_decay,
        "warmup_steps": config.warmup_ratio,  # below 1 it is a share of the steps
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": 0.1},  # Ouyang et al. 2022, C.1: cosine to a tenth
        "activation_checkpointing": config.gradient_checkpointing,
        "seed": config.seed,
        "bf16": gpu,
        "use_cpu": not gpu,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a NaN loss must be seen, not replaced by the last good one
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


class ReporterCallback(TrainerCallback):
    """Reports each optimizer step and stops on a cancel request or a loss that is no number."""

    def __init__(self, reporter: Reporter, phase: str) -> None:
        self.reporter, self.phase = reporter, phase
        self.latest: dict[str, float] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock."""
        self.meter = Meter(self.reporter, self.phase, state.max_steps)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """After each step: `logs` hold loss, grad_norm, learning_rate and the trainer's own metrics."""
        if not logs or "loss" not in logs:  # the summary at the end
            return
        numbers = {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
        if not math.isfinite(numbers["loss"]) or not math.isfinite(numbers.get("grad_norm", 0.0)):
            norm = numbers.get("grad_norm")
            raise StageError(
                ErrorKind.DIVERGED,
                f"The loss became {numbers['loss']} (gradient norm {norm}) at step {state.global_step}.",
                "Lower learning_rate or max_grad_norm.",
            )
        self.latest = numbers
        self.meter.step(numbers)
