"""What several GPUs can do for a job: asked at the door of the queue, and again before anything is started."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from alignment.shared.config import Stage
from alignment.shared.errors import BadInput


def refuse_impossible(stage: Stage, config: Mapping[str, Any], gpus: float) -> None:
    """Raise BadInput when the stage cannot use so many GPUs as it is set up, or needs one."""
    if not gpus and config.get("number_type") == "float16":
        cause = "number_type is 'float16', whose loss is scaled on a GPU alone, and gpus is 0."
        raise BadInput(cause, "Ask for a GPU, or set number_type to 'auto'.")
    if (config.get("lora") or {}).get("four_bits"):
        refuse_four_bits(gpus=gpus > 0)
    if gpus <= 1:
        return
    if gpus != int(gpus):
        cause = f"gpus is {gpus:g}: a job has whole GPUs, or a share of one."
        raise BadInput(cause, f"Ask for {int(gpus)} or {int(gpus) + 1}, or for less than 1.")
    if stage is Stage.PPO:
        _refuse_idle(config, int(gpus))
    elif stage is not Stage.SAMPLE:  # whose processes take what prompts there are
        _refuse_uneven(config, int(gpus))


def refuse_four_bits(*, gpus: bool) -> None:
    """Raise BadInput where no base can be held in 4 bits: bitsandbytes does it, on a GPU."""
    step = "leave lora.four_bits out: the base is then held in bfloat16."
    if not gpus:
        raise BadInput(
            "lora.four_bits is true, which takes a GPU, and gpus is 0 or none is here.", f"Use one, or {step}"
        )
    if not has_bitsandbytes():
        cause = "lora.four_bits is true, and bitsandbytes, which holds weights in 4 bits, is not installed here."
        raise BadInput(cause, f"Install rankloop[four-bits], or {step}")


def has_bitsandbytes() -> bool:
    return importlib.util.find_spec("bitsandbytes") is not None


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
