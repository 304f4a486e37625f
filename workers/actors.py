"""The only `ray.remote`: a thin shell round `alignment.stages.run` in a process of its own.

The stage runs in the actor's one default thread; the concurrency group `io` answers meanwhile: the
launcher drains what the stage reported and passes a cancel request on. The actor sees files and
numbers, never the database.
"""

from __future__ import annotations

import errno
import os
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import ray
from pydantic import BaseModel, ValidationError

from alignment.config import CONFIGS, Stage
from alignment.events import ErrorKind, Progress, Reporter, StageError, StageResult
from alignment.problems import explain
from workers.environment import forget_secrets

Runner = Callable[[Stage, dict[str, Any], dict[str, Any], Path, Reporter], StageResult]
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "warning",
    "TOKENIZERS_PARALLELISM": "false",  # no fork after threads
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait starve the service beside them
}


@dataclass(frozen=True)
class Work:
    """One attempt as the actor sees it. `inputs` are those of `alignment.stages.INPUTS`."""

    stage: Stage
    config: dict[str, Any]
    inputs: dict[str, Any]
    out_dir: Path
    run: Runner
    threads: int | None = None  # None: one for each core of the actor's machine


@dataclass
class Batch:
    """What a stage reported since the last drain, in order."""

    progress: list[Progress] = field(default_factory=list)
    samples: list[tuple[int, list[dict[str, Any]]]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)  # (level, message)

    def __bool__(self) -> bool:
        return bool(self.progress or self.samples or self.notes)


class BufferedReporter:
    """The stage's Reporter: keeps everything until the launcher comes for it."""

    def __init__(self) -> None:
        self._lock, self._batch, self._stop = threading.Lock(), Batch(), threading.Event()

    def progress(self, progress: Progress) -> None:
        with self._lock:
            self._batch.progress.append(progress)

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        with self._lock:
            self._batch.samples.append((step, [dict(row) for row in rows]))

    def note(self, message: str, *, level: str = "info") -> None:
        with self._lock:
            self._batch.notes.append((level, message))

    def cancelled(self) -> bool:
        return self._stop.is_set()

    def cancel(self) -> None:
        self._stop.set()

    def take(self) -> Batch:
        """Everything since the last call."""
        with self._lock:
            taken, self._batch = self._batch, Batch()
        return taken


class StageShell:
    """The actor. It is never restarted: what happens after its death is the launcher's business."""

    def __init__(self, work: Work) -> None:
        forget_secrets()
        os.environ.update(QUIET, OMP_NUM_THREADS=str(work.threads or cores()))
        if not ray.get_runtime_context().get_accelerator_ids()["GPU"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what was not asked for is not used
        self._work, self._reporter = work, BufferedReporter()

    def run(self) -> StageResult:
        """The stage's result; raises StageError for every fault that has a kind, since not every exception travels."""
        work = self._work
        try:
            return work.run(work.stage, work.config, work.inputs, work.out_dir, self._reporter)
        except Exception as error:
            fault = named_fault(error, CONFIGS[work.stage])
            if fault is None:
                raise
            raise fault from error

    @ray.method(concurrency_group="io")
    def drain(self) -> Batch:
        return self._reporter.take()

    @ray.method(concurrency_group="io")
    def cancel(self) -> None:
        self._reporter.cancel()

    @ray.method(concurrency_group="io")
    def where(self) -> tuple[str, int]:
        """Host and process of the stage; the first answer means that the actor has been placed."""
        return platform.node(), os.getpid()


StageActor: Any = cast(Any, ray.remote)(max_restarts=0, concurrency_groups={"io": 1})(StageShell)


def named_fault(error: Exception, settings: type[BaseModel] | None = None) -> StageError | None:
    """The fault as clients know it, or None for one of ours. `settings` is the class that refused a config."""
    if isinstance(error, StageError):
        return error
    if isinstance(error, ValidationError):
        first = explain(error, settings)[0]
        return StageError(ErrorKind.BAD_INPUT, f"Setting {first.pointer}: {first.message}", "Correct it.")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without its import
        return StageError(
            ErrorKind.OUT_OF_MEMORY,
            f"The stage ran out of memory: {str(error) or 'the host has none left'}.",
            "Lower micro_batch_size or max_length, or use a smaller model.",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StageError(ErrorKind.DISK_FULL, f"The disk is full: {error.filename}.", "Free space, then retry.")
    return None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
