"""A Reporter for people: a progress bar on a terminal, a line a second anywhere else."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from alignment.shared import events
from alignment.shared.sentence import Sentence
from alignment.untrusted.texts import on_a_line, shown

SHOWN = ("loss", "accuracy", "reward", "score", "kl")  # what fits beside a bar


class TerminalReporter:
    """Shows progress with rate and time left. Ctrl-C asks the stage to stop; a second one ends it at once.

    With `pauses`, the first one asks for a pause: the stage saves a checkpoint before it stops.
    """

    def __init__(self, *, pauses: bool = False) -> None:
        self.pauses = pauses
        self.console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._printed = 0.0
        self._stop = False

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGINT, self._interrupt)
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        signal.signal(signal.SIGINT, self._previous)

    def progress(self, progress: events.StageProgress) -> None:
        note = describe(progress)
        if not self.console.is_terminal:
            self._print(progress, note)
            return
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._bars.add_task(progress.phase, total=progress.total, note="")
        self._bars.update(self._tasks[progress.phase], completed=progress.step, total=progress.total, note=note)

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows[:4]:
            self.console.print(f"  {on_a_line(row['prompt'])} -> {on_a_line(row['response'])}", markup=False)

    def evaluation(self, update: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Nobody ranks at a terminal; the files beside the model show every evaluation."""

    def note(self, message: Sentence, *, level: str = "info") -> None:
        self.console.print(shown(message if level == "info" else f"{level}: {message}"), markup=False)

    def cancelled(self) -> bool:
        return self._stop and not self.pauses

    def paused(self) -> bool:
        return self._stop and self.pauses

    def checkpoint(self, saved: events.SavedCheckpoint) -> None:
        self.console.print(f"Saved {saved.name} ({saved.size / 1e6:.1f} MB, {saved.seconds:.1f} s).", markup=False)

    def _print(self, progress: events.StageProgress, note: str) -> None:
        """One line a second at most, and always the last step."""
        now = time.monotonic()
        if now - self._printed >= 1 or progress.step == progress.total:
            print(f"{progress.phase} {progress.step}/{progress.total} {note}", file=sys.stderr, flush=True)
            self._printed = now

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


def describe(progress: events.StageProgress) -> str:
    """Rate, time left and the few numbers worth a glance."""
    left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
    numbers = "".join(f", {name} {progress.metrics[name]:.3g}" for name in SHOWN if name in progress.metrics)
    return f"{progress.rate:.1f}/s{left}{numbers}"
