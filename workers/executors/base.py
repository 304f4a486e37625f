"""Where the stage of an attempt runs: in actors of Ray, or in a plain child process of the launcher.

Both give the launcher the same verbs, and with both the stage dies with its launcher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from alignment.shared.events import StageResult
from alignment.shared.sentence import Sentence
from annotation_api.db.jobs.records import Wish
from workers.stage.work import Batch, StageWork


@dataclass(frozen=True)
class Waiting:
    """Why a stage has not begun."""

    reason: str  # loading, waiting_gpu or infeasible
    detail: Sentence | None = None


class Executor(Protocol):
    """One stage, from its start to its end. Only the launcher's main thread calls it, in this order.

    Every verb but `end` may raise AttemptError or Faulted.
    """

    device: str  # gpu or cpu; known once the stage is placed

    def start(self, work: StageWork, gpus: float, *, allow_cpu: bool = False) -> None:
        """Ask for the processes. Returns before they are there. `allow_cpu`: where a cluster has no GPU now."""

    def placed(self, patience: float) -> Waiting | None:
        """Wait up to `patience` seconds for the processes: None once the stage runs, otherwise why it does not yet."""

    def over(self, patience: float) -> bool:
        """Wait up to `patience` seconds for the end of the stage; whether it has come."""

    def take(self, patience: float) -> Batch:
        """What was reported since the last call; nothing from a stage too busy to answer, or dead."""

    def ask(self, wish: Wish) -> None:
        """Pass on that somebody wants the stage to cancel or to pause. It may take a while, or never do so."""

    def result(self) -> StageResult:
        """What the stage that is over returned. Raises Paused, or Faulted for what ended it."""

    def end(self) -> None:
        """End whatever still runs."""
