"""What a training stage tells the outside world, and the one question that it asks back.

A stage gets a `Reporter` and never knows who listens: a terminal, a test, or another process that
carries the events on. It asks `cancelled()` at every step border.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from alignment.shared.errors import Cancelled
from alignment.shared.sentence import Sentence


class Paused(Exception):
    """The stage has written a checkpoint and stopped on request, at a step border."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint that is whole by now, and that a later attempt can go on from."""

    name: str  # its path below the checkpoints folder
    step: int  # steps of the whole stage that it holds; grows from one checkpoint to the next
    sha256: str  # of its manifest
    size: int  # bytes
    seconds: float  # what saving took


@dataclass(frozen=True)
class StageProgress:
    """One line of a progress bar: where a stage stands and what it last measured."""

    phase: str  # e.g. "train", "rollout", "evaluate"
    step: int
    total: int
    rate: float  # steps a second since the phase began, or went on
    seconds_left: float | None  # None until the rate is known
    metrics: Mapping[str, float] = field(default_factory=dict)


class Reporter(Protocol):
    """Where a stage sends what it does. Calls are cheap and never raise."""

    def progress(self, progress: StageProgress) -> None: ...

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Texts worth reading at `step`: each row has at least `prompt` and `response`."""

    def evaluation(self, update: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """A policy's replies to held-out prompts after `update` updates, beside the SFT policy's to the same prompts.

        Each row has `prompt` (a records.Prompt as its JSON line), the texts `before` and `response`, what the reward
        model says of them as `score_before` and `score`, and `kl`. A run that goes on from a checkpoint tells its
        looks again.
        """

    def note(self, message: Sentence, *, level: str = "info") -> None: ...

    def cancelled(self) -> bool:
        """True once somebody asked the stage to stop."""

    def paused(self) -> bool:
        """True once somebody asked for a pause: save, then stop at the step border by raising `Paused`.

        A stage that has nowhere to save goes on to its end.
        """

    def checkpoint(self, saved: SavedCheckpoint) -> None:
        """A checkpoint has become whole."""


class Meter:
    """Times one phase and reports its steps: `meter.step(metrics)` after each.

    `done` steps were taken by an earlier attempt; they count for progress, not for the rate.
    Raises `Cancelled` at the first step border after a cancel request.
    """

    def __init__(self, reporter: Reporter, phase: str, total: int, done: int = 0) -> None:
        self.reporter, self.phase, self.total, self.done = reporter, phase, total, done
        self._began, self._before = time.monotonic(), done

    def step(self, metrics: Mapping[str, float] | None = None, *, by: int = 1) -> None:
        self.done += by
        rate = (self.done - self._before) / max(time.monotonic() - self._began, 1e-9)
        left = (self.total - self.done) / rate if rate else None
        self.reporter.progress(StageProgress(self.phase, self.done, self.total, rate, left, dict(metrics or {})))
        if self.reporter.cancelled():
            raise Cancelled(f"Stopped on request in {self.phase}, step {self.done}.")


class NullReporter:
    """Hears nothing and never cancels: for tests and for use as a library."""

    def progress(self, progress: StageProgress) -> None: ...

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def evaluation(self, update: int, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def note(self, message: Sentence, *, level: str = "info") -> None: ...

    def cancelled(self) -> bool:
        return False

    def paused(self) -> bool:
        return False

    def checkpoint(self, saved: SavedCheckpoint) -> None: ...


@dataclass(frozen=True)
class StageResult:
    """What a stage leaves behind: the folder `out_dir` is complete when this is returned.

    `metrics` are final numbers; `details` is anything else that a report needs (JSON types only).
    """

    stage: str
    metrics: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)
