"""What several GPUs can do for a run: asked at the door of the queue, and again before anything is started."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from alignment.shared.config import PPOConfig, Stage, TrainingConfig
from alignment.shared.errors import BadInput
from alignment.shared.methods import require_four_bits
from alignment.shared.sentence import Sentence

SMALLEST_SHARE = 0.0001  # of a GPU: Ray counts no finer, and starts nothing that asks for less
NOTHING_SHARED = Sentence("nothing-shared", "shard_weights is set, and the run is one process: nothing is shared out.")


def refuse_impossible(stage: Stage, config: Mapping[str, Any], gpus: float) -> None:
    """Raise BadInput when the stage cannot use so many GPUs as it is set up, needs one, or a library that is away."""
    if not 0 <= gpus < math.inf:
        cause = Sentence("gpus-no-number", "gpus is %(gpus)s, which is no number of GPUs.", gpus=f"{gpus:g}")
        raise BadInput(cause, Sentence("ask-for-some-gpus", "Ask for 0, a share of one, or whole GPUs."))
    if 0 < gpus < SMALLEST_SHARE:
        english = "gpus is %(gpus)s, and no share of a GPU is smaller than %(least)s."
        cause = Sentence("gpus-too-small", english, gpus=f"{gpus:g}", least=f"{SMALLEST_SHARE:g}")
        raise BadInput(cause, Sentence("ask-for-none-or-more", "Ask for 0, or for more."))
    if (config.get("lora") or {}).get("bits"):
        require_four_bits()
    if not gpus and config.get("number_type") == "float16":
        cause = Sentence(
            "float16-without-gpus", "number_type is 'float16', whose loss is scaled on a GPU alone, and gpus is 0."
        )
        raise BadInput(cause, Sentence("ask-for-gpu", "Ask for a GPU, or set number_type to 'auto'."))
    if gpus <= 1:
        return
    if gpus != int(gpus):
        cause = Sentence(
            "gpus-not-whole", "gpus is %(gpus)s: a run has whole GPUs, or a share of one.", gpus=f"{gpus:g}"
        )
        raise BadInput(
            cause,
            Sentence(
                "ask-for-whole-gpus",
                "Ask for %(fewer)s or %(more)s, or for less than 1.",
                fewer=int(gpus),
                more=int(gpus) + 1,
            ),
        )
    if stage is Stage.PPO:
        _refuse_idle(config, int(gpus))
    elif stage is not Stage.SAMPLE:  # whose processes take what prompts there are
        _refuse_uneven(config, int(gpus))


def can_share(config: TrainingConfig, gpus: int) -> bool:
    """Whether the rows of a training stage's batch go round so many GPUs."""
    refuse = _refuse_idle if isinstance(config, PPOConfig) else _refuse_uneven
    try:
        refuse(config.model_dump(), gpus)
    except BadInput:
        return False
    return True


def _refuse_idle(config: Mapping[str, Any], gpus: int) -> None:
    """Any number of rows is dealt to the GPUs of PPO; each must get one."""
    batch, steps = config["batch_size"], config["mini_batches"]
    if batch // steps < gpus:
        parts = f" in {steps} mini_batches" if steps > 1 else ""
        cause = Sentence(
            "rows-too-few",
            "gpus is %(gpus)s, and batch_size (%(batch)s)%(parts)s has %(rows)s rows for them in a step.",
            gpus=gpus,
            batch=batch,
            parts=parts,
            rows=batch // steps,
        )
        raise BadInput(
            cause, Sentence("fewer-gpus", "Ask for %(most)s or fewer, or raise batch_size.", most=batch // steps)
        )


def _refuse_uneven(config: Mapping[str, Any], gpus: int) -> None:
    batch, micro = config["batch_size"], config["micro_batch_size"]
    if batch % (micro * gpus):
        cause = Sentence(
            "batch-not-shared",
            "batch_size (%(batch)s) cannot be shared by %(gpus)s GPUs that take micro_batch_size (%(micro)s) each.",
            batch=batch,
            gpus=gpus,
            micro=micro,
        )
        step = Sentence(
            "batch-multiple",
            "Make batch_size a multiple of %(multiple)s, or lower micro_batch_size.",
            multiple=micro * gpus,
        )
        raise BadInput(cause, step)
