"""What the reward stage trains on: an example a task, and what became of every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from alignment.reward.annotations import Annotation


class RowStatus(StrEnum):
    """What became of a row."""

    TRAINED = "trained"  # it entered the loss
    HELDOUT = "heldout"  # its prompt is held out: it is measured on
    REFUSED = "refused"  # a response alone fills max_length
    TEMPLATE = "template_refused"  # the chat template does not take its turns
    ALL_TIED = "all_tied"  # it orders nothing and labels nothing
    OUTVOTED = "outvoted"  # its weight among the votes on its task is 0


@dataclass(frozen=True)
class PairTarget:
    """`better` should score above `worse` by `margin` with probability `target`."""

    better: int  # into the example's responses
    worse: int
    target: float
    margin: float
    weight: float


@dataclass(frozen=True)
class Vote:
    """One whole order of the example's responses."""

    ranks: tuple[int, ...]  # (K,) 0 = best
    weight: float


@dataclass(frozen=True)
class Example:
    """One task: the responses of a prompt go through the model together, and its weight is shared out once."""

    prompt_ids: list[int]
    responses: list[list[int]]  # K lists, each with its stop token
    comparisons: tuple[PairTarget, ...]
    votes: tuple[Vote, ...]
    labels: tuple[tuple[int, float, float], ...]  # response, target, weight
    weight: float
    rows: tuple[int, ...]  # which annotations these are

    @property
    def tokens(self) -> int:
        """Tokens with the prompt counted once."""
        return len(self.prompt_ids) + sum(map(len, self.responses))

    @property
    def sequences(self) -> list[list[int]]:
        """Prompt and response of each of the K, as a model reads them alone."""
        return [self.prompt_ids + ids for ids in self.responses]


@dataclass(frozen=True)
class PreparedExamples:
    """All examples of a run, and what became of every row."""

    train: list[Example]
    heldout: list[int]  # rows on which the model is measured
    statuses: list[RowStatus]  # one a row
    shortened: list[bool]  # one a row: the prompt was cut on its left
    cyclic: int  # tasks whose majority contradicts itself; used as they are

    def counts(self, rows: Sequence[Annotation]) -> dict[str, int]:
        """How many rows were used (trained or held out), and how many of those were shortened; the rest by fate."""
        used = [status in (RowStatus.TRAINED, RowStatus.HELDOUT) for status in self.statuses]
        return {
            "used": sum(used),
            "shortened": sum(self.shortened),
            "refused": self.statuses.count(RowStatus.REFUSED),
            "all_tied": self.statuses.count(RowStatus.ALL_TIED),
            "outvoted": self.statuses.count(RowStatus.OUTVOTED),
            "repeated": sum(row.repeated for row in rows),
            "cyclic": self.cyclic,
            **({RowStatus.TEMPLATE.value: unread} if (unread := self.statuses.count(RowStatus.TEMPLATE)) else {}),
        }
