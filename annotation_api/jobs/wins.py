"""How often people prefer the policy of each evaluation to the SFT policy. Pure: comparisons in, rates out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from alignment.shared.intervals import interval95
from annotation_api.jobs.detail_schemas import LookOut

WIN, TIE, LOSS = 1.0, 0.5, 0.0


@dataclass(frozen=True)
class Comparison:
    """An evaluation's reply to one held-out prompt beside the SFT policy's."""

    update: int
    identical: bool  # the two replies are: nobody is asked
    score: float | None  # the reward model's; None: not finite
    score_before: float | None
    kl: float | None
    waits: bool  # its task wants more people than have judged it
    judgements: tuple[float, ...]  # WIN, TIE or LOSS of the evaluation's reply, one a person

    @property
    def win(self) -> float | None:
        """Of this prompt, over all who judged it; None: nobody has."""
        if self.identical:
            return TIE
        return fmean(self.judgements) if self.judgements else None


def preference(groups: Sequence[Sequence[str]], response: str) -> float:
    """What a ranking of two says of one of them; `groups` hold ids, best first."""
    if len(groups) == 1:
        return TIE
    return WIN if response in groups[0] else LOSS


def win_rates(comparisons: Iterable[Comparison]) -> list[LookOut]:
    """A row for each evaluation; `comparisons` are in the order of the updates."""
    return [_rate(update, list(rows)) for update, rows in itertools.groupby(comparisons, lambda row: row.update)]


def _rate(update: int, rows: Sequence[Comparison]) -> LookOut:
    said = [judgement for row in rows for judgement in row.judgements]
    wins = [row.win for row in rows if row.win is not None]
    identical = sum(row.identical for row in rows)
    judged = len(wins) - identical
    known = (
        judged > 0
    )  # identical replies were asked of nobody: they count beside what people said, and alone say nothing
    low, high = interval95(wins) if known else (None, None)
    return LookOut(
        update=update,
        prompts=len(rows),
        score=_mean(row.score for row in rows),
        score_before=_mean(row.score_before for row in rows),
        kl=_mean(row.kl for row in rows),
        judged=judged,
        identical=identical,
        waiting=sum(row.waits for row in rows),
        wins=said.count(WIN),
        ties=said.count(TIE),
        losses=said.count(LOSS),
        rate=fmean(wins) if known else None,
        low=low,
        high=high,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return fmean(found) if found else None
