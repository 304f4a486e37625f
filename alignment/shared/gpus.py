"""What several GPUs can do for a job: asked at the door of the queue, and again before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alignment.shared.config import Stage
from alignment.shared.errors import BadInput
from alignment.shared.methods import require_four_bits


def refuse_impossible(stage: Stage, config: Mapping[str, Any], gpus: float) -> None:
    """Raise BadInput when the stage cannot use so many GPUs as it is set up, needs one, or a library that is away."""
    if (config.get("lora") or {}).get("bits"):
        require_four_bits()
    if not gpus and config.get("number_type") == "float16":
        cause = "number_type is 'float16', whose loss is scaled on a GPU alone, and gpus is 0."
        raise BadInput(cause, "Ask for a GPU, or set number_type to 'auto'.")
    if gpus <= 1:
        return
    if gpus != int(gpus):
        cause = f"gpus is {gpus:g}: a job has whole GPUs, or a share of one."
        raise BadInput(cause, f"Ask for {int(gpus)} or {int(gpus) + 1}, or for less than 1.")
    if stage is Stage.PPO:
        _refuse_idle(config, int(gpus))
    elif stage is not Stage.SAMPLE:  # whose processes take what prompts there are
        _refuse_uneven(config, int(gpus))


def _refuse_idle(config: Mapping[str, Any], gpus: int) -> None:
    """Any number of rows is dealt to the GPUs of PPO; each must get one."""
    batch, steps = config["batch_size"], config["mini_batches"]
    if batch // steps < gpus:
        parts = f" in {steps} mini_batches" if steps > 1 else ""
        cause = f"gpus is {gpus}, and batch_size ({batch}){parts} has {batch // steps} rows for them in a step."
        raise BadInput(cause, f"Ask for {batch // steps} or fewer, or raise batch_size.")


def _refuse_uneven(config: Mapping[str, Any], gpus: int) -> None:
    batch, micro = config["batch_size"], config["micro_batch_size"]
    if batch % (micro * gpus):
        cause = f"batch_size ({batch}) cannot be shared by {gpus} GPUs that take micro_batch_size ({micro}) each."
        step = f"Make batch_size a multiple of {micro * gpus}, or lower micro_batch_size."
        raise BadInput(cause, step)
