"""A stage without a model, and the launcher and dispatcher that run it: commands for tests.

    python -m tests.support.stub launcher JOB EPOCH | python -m tests.support.stub dispatcher

What the stage does stands in `script.json` in the folder of the base model: how many steps, the
seconds that each takes, how often it saves and how much, a fault to raise. All around the stage is the real thing.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alignment.shared import artifact
from alignment.shared.config import SFTConfig, Stage
from alignment.shared.errors import Damaged, Diverged
from alignment.shared.events import Meter, Paused, Reporter, SavedCheckpoint, StageResult


def refused(config: dict[str, Any]) -> Exception:
    """What a bad setting raises."""
    try:
        SFTConfig.model_validate(config)
    except ValidationError as error:
        return error
    raise AssertionError(f"{config} was accepted")


FAULTS: dict[str, Callable[[], Exception]] = {
    "diverged": lambda: Diverged("The loss is not a number.", "Lower learning_rate."),
    "corrupt": lambda: Damaged("a.bin differs.", "Train again."),
    "memory": lambda: MemoryError(),
    "torch memory": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    "setting": lambda: refused({"batchsize": 3}),
    "disk": lambda: OSError(errno.ENOSPC, "No space left on device", "model.safetensors"),
    "file size": lambda: OSError(errno.EFBIG, "File too large"),
    "torch disk": lambda: RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    "bug": lambda: ZeroDivisionError("a fault of ours"),
    "hungry": lambda: hungry(),
}


def hungry() -> Exception:
    """Ask for more memory than the system gives."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
    raise AssertionError(len(bytearray(2**31)))


def run(stage: Stage, config: dict[str, Any], inputs: dict[str, Any], out_dir: Path, reporter: Reporter) -> StageResult:
    """Take the scripted steps, from the newest checkpoint on, and leave a file that stands for the weights."""
    script = json.loads((Path(inputs["model"]) / "script.json").read_text())
    seen = sorted(name for name in os.environ if "DATABASE_URL" in name or name in ("HF_HUB_OFFLINE", "WORLD_SIZE"))
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    (out_dir.parent / f"rank-{os.environ.get('RANK', 0)}.json").write_text(
        json.dumps({"gpus": gpus, "local_rank": os.environ.get("LOCAL_RANK")})
    )
    reporter.note(f"process {os.getpid()} sees {seen}, {os.environ['OMP_NUM_THREADS']} threads, GPUs {gpus!r}")
    begin = newest(inputs)
    if begin:
        reporter.note(f"begins after step {begin}")
    logging.getLogger("stub").warning("The stage looks at %s.", "postgresql://me:hush@db/x")
    meter = Meter(reporter, "train", script["steps"], begin)
    for step in range(begin + 1, script["steps"] + 1):
        threading.Event().wait(script.get("seconds", 0.0))  # time.sleep fails under libfaketime
        meter.step({"loss": 1.0 / step})
        if step == 2 and "fault" in script:
            end_badly(script["fault"])
        pausing = "checkpoints" in inputs and reporter.paused()
        if pausing or step % script.get("save_every", script["steps"] + 1) == 0:
            save(step, Path(inputs["checkpoints"]), reporter, script.get("bytes", 0))
        if pausing:
            raise Paused(f"after step {step}")
    (out_dir / "model.safetensors").write_bytes(b"weights")
    reporter.samples(script["steps"], [{"prompt": "hello", "response": "world"}])
    return StageResult(
        stage.value, {"loss": 0.25}, {"checkpoints": [{"step": 2, "metrics": {"score": 0.5}, "chosen": True}]}
    )


def end_badly(fault: str) -> None:
    """Raise, or die as when the system ends a process, or in the stage that is not the first of several."""
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "rank 1 killed":
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(1)
        raise RuntimeError("Connection closed by peer")
    raise FAULTS[fault]()


def newest(inputs: dict[str, Any]) -> int:
    """The step of the newest whole checkpoint that any attempt left."""
    folders = Path(inputs["resume_from"]).glob("*/run/checkpoint-*") if "resume_from" in inputs else ()
    return max((int(folder.name.rpartition("-")[2]) for folder in folders if artifact.verify(folder)), default=0)


def save(step: int, folder: Path, reporter: Reporter, size: int) -> None:
    partial = folder / "run" / "partial"
    partial.mkdir(parents=True)
    (partial / "state.json").write_text(json.dumps({"step": step}))
    (partial / "weights").write_bytes(bytes(size))
    name = f"run/checkpoint-{step}"
    reporter.checkpoint(SavedCheckpoint(name, step, artifact.publish(partial, folder / name), 12, 0.0))


def launcher(arguments: list[str]) -> int:
    """The real launcher with the stage above."""
    from workers.attempt.launcher import main

    return main(arguments, run)


def dispatcher() -> int:
    """The real dispatcher with the launcher above."""
    from workers.__main__ import main

    return main((sys.executable, "-m", "tests.support.stub", "launcher"))


if __name__ == "__main__":
    sys.exit(launcher(sys.argv[2:]) if sys.argv[1] == "launcher" else dispatcher())
