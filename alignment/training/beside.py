"""Checkpoints that are written beside training, from a copy: one at a time, in a thread of its own.

Training stops for the copy alone. A checkpoint appears as it does without: whole, after the one before it. Its failure
is raised at the next step border, or at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import torch.distributed as dist

from alignment.shared.errors import StageError
from alignment.shared.events import Paused
from alignment.shared.sentence import Sentence
from alignment.training.checkpoints import PARTIAL, Checkpoints
from alignment.training.team import PATIENCE


class Copied(Protocol):
    """What a checkpoint holds, as it was at a step border."""

    def write(self, folder: Path, group: dist.ProcessGroup | None) -> None:
        """Into an empty folder; processes that write it together speak in `group`."""


class Beside:
    """One run's writer. Every process of a team calls it at the same step borders."""

    def __init__(self, checkpoints: Checkpoints, pool: ThreadPoolExecutor, group: dist.ProcessGroup | None) -> None:
        self._checkpoints, self._pool, self._group = checkpoints, pool, group
        self._team = checkpoints.team
        self._writing: Future[None] | None = None

    def border(self, step: int, total: int, copy: Callable[[], Copied]) -> None:
        """At a step border: begin to write a checkpoint if one is due. Raise Paused if that was asked for, once it is
        written; DiskFull if the one before did not fit."""
        pausing = self._checkpoints.pausing()
        self._raise_together(self.failure())
        if self._team.anywhere(pausing or self._due(step, total)):
            self.finish()  # memory and disk hold one at a time
            self._begin(step, total, copy)
        if pausing:
            self.finish()
            raise Paused(f"Paused after step {step} of {total}.")

    def finish(self) -> None:
        """Wait until nothing is being written; raise what it failed of."""
        if self._writing is not None:
            wait([self._writing])
        self._raise_together(self.failure())

    def failure(self) -> BaseException | None:
        """Of what was written last, as far as it is known."""
        return self._writing.exception() if self._writing is not None and self._writing.done() else None

    def _due(self, step: int, total: int) -> bool:
        """The first process says, which alone knows when the last one was whole. By the clock not while that is being
        written: a slow disk has fewer, and nobody waits for it."""
        by_clock = self._checkpoints.config.save_every is None
        busy = self._writing is not None and not self._writing.done()
        return self._team.first and self._checkpoints.due(step, total) and not (by_clock and busy)

    def _begin(self, step: int, total: int, copy: Callable[[], Copied]) -> None:
        """The first process makes the folder before, and publishes it after."""
        home = self._checkpoints.folder
        assert home is not None, "only a run with a folder saves"
        with ExitStack() as opened:
            self._raise_together(self._opened(opened, step, total))
            copied, place, until_whole = copy(), home / PARTIAL / f"checkpoint-{step}", opened.pop_all()
        self._writing = self._pool.submit(self._write, copied, place, until_whole)

    def _opened(self, opened: ExitStack, step: int, total: int) -> Exception | None:
        """What hinders the first process from making the folder: raised together, or the others would only lose it."""
        try:
            if self._team.first:
                opened.enter_context(self._checkpoints.saving(step, total))
        except Exception as error:
            return error
        return None

    def _write(self, copied: Copied, place: Path, until_whole: ExitStack) -> None:
        with until_whole:
            copied.write(place, self._group)

    def _raise_together(self, failure: BaseException | None) -> None:
        """All processes stop for what one could not write."""
        if not self._team.anywhere(failure is not None):
            return
        told = failure if isinstance(failure, StageError) else failure and StageError(str(failure))
        first = next(error for error in self._team.to_all(told) if error is not None)
        raise failure or first


@contextmanager
def beside(checkpoints: Checkpoints, *, shares: bool) -> Iterator[Beside]:
    """Until all is written; `shares`: each process of the team writes a part, else the first one writes everything.

    Calls of two threads would meet each other in one group, so the writers have their own.
    """
    group = dist.new_group(backend="gloo", timeout=PATIENCE) if shares and checkpoints.team.size > 1 else None
    with ThreadPoolExecutor(1, thread_name_prefix="checkpoint") as pool:
        writer = Beside(checkpoints, pool, group)
        try:
            yield writer
            writer.finish()
        except BaseException as error:
            pool.shutdown()
            if (failure := writer.failure()) and failure is not error:
                said = Sentence(
                    "checkpoint-not-written", "The last checkpoint was not written: %(error)s", error=failure
                )
                checkpoints.reporter.note(said, level="warning")
            raise
