"""What several GPUs can do for a job: asked at the door of the queue, and again before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alignment.shared.config import CONFIGS, SharedConfig, Stage
from alignment.shared.events import ErrorKind, StageError

# Stages whose processes share the work of each step.
TOGETHER = tuple(stage for stage in Stage if issubclass(CONFIGS[stage], SharedConfig))


def refuse_impossible(stage: Stage, config: Mapping[str, Any], gpus: float) -> None:
    """Raise StageError(BAD_INPUT) when the stage cannot use so many GPUs as it is set up."""
    if gpus <= 1:
        return
    if gpus != int(gpus):
        cause = f"gpus is {gpus:g}: a job has whole GPUs, or a share of one."
        raise StageError(ErrorKind.BAD_INPUT, cause, f"Ask for {int(gpus)} or {int(gpus) + 1}, or for less than 1.")
    if stage not in TOGETHER:
        names = " and ".join(stage.value for stage in TOGETHER)
        cause = f"gpus is {gpus:g}, and a {stage.value} job uses one."
        raise StageError(ErrorKind.BAD_INPUT, cause, f"Ask for 1; only {names} jobs use several.")
    batch, micro = config["batch_size"], config["micro_batch_size"]
    if batch % (micro * int(gpus)):
        cause = f"batch_size ({batch}) cannot be shared by {gpus:g} GPUs that take micro_batch_size ({micro}) each."
        step = f"Make batch_size a multiple of {micro * int(gpus)}, or lower micro_batch_size."
        raise StageError(ErrorKind.BAD_INPUT, cause, step)
