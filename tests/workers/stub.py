"""A stage without a model, and the launcher and dispatcher that run it: commands for tests.

    python stub.py launcher JOB EPOCH | python stub.py dispatcher

What the stage does stands in `script.json` in the folder of the base model: how many steps, the
seconds that each takes, a fault to raise. Everything around the stage is the real thing.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alignment.config import SFTConfig, Stage
from alignment.events import ErrorKind, Meter, Reporter, StageError, StageResult


def refused(config: dict[str, Any]) -> Exception:
    """What a bad setting raises."""
    try:
        SFTConfig.model_validate(config)
    except ValidationError as error:
        return error
    raise AssertionError(f"{config} was accepted")


FAULTS: dict[str, Callable[[], Exception]] = {
    "diverged": lambda: StageError(ErrorKind.DIVERGED, "The loss is not a number.", "Lower learning_rate."),
    "memory": lambda: MemoryError(),
    "setting": lambda: refused({"batchsize": 3}),
    "disk": lambda: OSError(errno.ENOSPC, "No space left on device", "model.safetensors"),
    "bug": lambda: ZeroDivisionError("a fault of ours"),
}


def run(stage: Stage, config: dict[str, Any], inputs: dict[str, Any], out_dir: Path, reporter: Reporter) -> StageResult:
    """Take the scripted steps and leave a file that stands for the weights."""
    script = json.loads((Path(inputs["model"]) / "script.json").read_text())
    seen = sorted(name for name in os.environ if "DATABASE" in name or name == "HF_HUB_OFFLINE")
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    reporter.note(f"process {os.getpid()} sees {seen}, {os.environ['OMP_NUM_THREADS']} threads, GPUs {gpus!r}")
    meter = Meter(reporter, "train", script["steps"])
    for step in range(1, script["steps"] + 1):
        time.sleep(script.get("seconds", 0.0))
        meter.step({"loss": 1.0 / step})
        if step == 2 and "fault" in script:
            raise FAULTS[script["fault"]]()
    (out_dir / "model.safetensors").write_bytes(b"weights")
    reporter.samples(script["steps"], [{"prompt": "hello", "response": "world"}])
    return StageResult(
        stage.value, {"loss": 0.25}, {"checkpoints": [{"step": 2, "metrics": {"score": 0.5}, "chosen": True}]}
    )


def launcher(arguments: list[str]) -> int:
    """The real launcher with the stage above."""
    import ray

    from workers.launcher import main

    ray.cloudpickle.register_pickle_by_value(sys.modules[run.__module__])
    return main(arguments, run)


def dispatcher() -> int:
    """The real dispatcher with the launcher above."""
    from workers.__main__ import main

    return main((sys.executable, __file__, "launcher"))


if __name__ == "__main__":
    sys.exit(launcher(sys.argv[2:]) if sys.argv[1] == "launcher" else dispatcher())
