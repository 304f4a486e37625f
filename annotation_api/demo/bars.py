"""What the demo shows while it works: the part that it is at, and how much of the whole is left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

PERCENT = 100


@dataclass
class Whole:
    """How far the demo is, by the seconds that its parts took elsewhere: machines differ, shares less."""

    parts: Mapping[str, float]  # title to seconds
    began: float = field(default_factory=time.monotonic)
    done: float = 0.0  # of the parts that are over

    def share(self, title: str, fraction: float = 0.0) -> float:
        """Of the whole that is done when `fraction` of this part is."""
        return min((self.done + fraction * self.parts.get(title, 0.0)) / sum(self.parts.values()), 1.0)

    def end(self, title: str) -> None:
        self.done += self.parts.get(title, 0.0)

    def left(self, share: float) -> str:
        """At the pace so far. Too little is known before a twentieth is done."""
        if share < 0.05 or share >= 1:
            return ""
        seconds = (time.monotonic() - self.began) * (1 - share) / share
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


class Bar:
    """Two bars on a terminal, the part's and the whole's; everywhere one line when the part ends."""

    def __init__(self, console: Console, whole: Whole, title: str) -> None:
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.console, self.whole, self.title = console, whole, title
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.part = self.progress.add_task(title, total=None, note="")
        self.all = self.progress.add_task("The whole loop", total=PERCENT, note="")

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        self.progress.start()
        self._show_whole(0.0)
        return self

    def update(self, completed: float, total: float | None, note: str = "") -> None:
        self.progress.update(self.part, total=total, completed=completed, note=note)
        self._show_whole(completed / total if total else 0.0)

    def _show_whole(self, fraction: float) -> None:
        share = self.whole.share(self.title, fraction)
        self.progress.update(self.all, completed=PERCENT * share, note=self.whole.left(share))

    def __exit__(self, kind: object, *_: object) -> None:
        self.progress.stop()
        self.whole.end(self.title)
        share = self.whole.share(self.title)
        took = f"{'stopped' if kind else 'done'} in {time.monotonic() - self.began:6.1f} s"
        so_far = f"{share:4.0%} of the whole  {self.whole.left(share)}".rstrip()
        self.console.print(f"{self.title:<34} {took}  {so_far}", highlight=False)
