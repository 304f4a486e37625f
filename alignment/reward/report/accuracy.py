"""How good is a reward model, and how sure are we: accuracy with its interval, whole and in parts.

Prompts are the independent units: the comparisons of one ranking share their prompt and their
annotator, so counting them as independent would make every interval too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alignment.shared.intervals import SHARE, Bounds, interval95
from alignment.shared.records import Ranking


@dataclass(frozen=True)
class IntervalEstimate:
    """A share or mean with its 95% interval."""

    value: float
    low: float
    high: float
    n: int  # what was counted: comparisons, replies
    prompts: int = 0  # the independent units behind them


@dataclass(frozen=True)
class ScoredPair:
    """One annotator prefers one response to another, and what a scorer says to that."""

    prompt: str  # the prompt's key: the independent unit
    gap: float  # score of the preferred response less that of the other
    longer: int  # characters of the preferred response less those of the other
    length_ratio: float  # log(preferred / other), of lengths plus one
    strength: str
    criterion: str
    annotator: str
    language: str

    @property
    def won(self) -> float:
        """1 where the scorer agrees with the annotator, 0 where it does not, equal scores half."""
        return 0.5 if self.gap == 0 else float(self.gap > 0)


def compare(rankings: Sequence[Ranking], scores: Sequence[Sequence[float]]) -> list[ScoredPair]:
    """Every comparison that the rankings hold, with the scorer's gap: `scores` has K numbers for each ranking."""
    found = []
    for ranking, row in zip(rankings, scores, strict=True):
        sizes = [len(text) for text in ranking.responses]
        for i, j in ranking.pairs():
            found.append(
                ScoredPair(
                    prompt=ranking.prompt.key,
                    gap=row[i] - row[j],
                    longer=sizes[i] - sizes[j],
                    length_ratio=math.log((sizes[i] + 1) / (sizes[j] + 1)),
                    strength="" if ranking.strength is None else str(ranking.strength),
                    criterion=ranking.criterion or ranking.prompt.criterion or "",
                    annotator=ranking.annotator or "",
                    language=ranking.prompt.language or "",
                )
            )
    return found


def accuracy(rows: Sequence[ScoredPair]) -> IntervalEstimate:
    """Share of comparisons that the scorer orders as the annotator did. Raises ValueError for none."""
    return clustered([(row.prompt, row.won) for row in rows])


def accuracy_by(rows: Sequence[ScoredPair], key: Callable[[ScoredPair], str]) -> dict[str, IntervalEstimate]:
    """Accuracy of each part, sorted by name; comparisons whose key is empty belong to none."""
    parts: dict[str, list[ScoredPair]] = {}
    for row in rows:
        if name := key(row):
            parts.setdefault(name, []).append(row)
    return {name: accuracy(parts[name]) for name in sorted(parts)}


def clustered(values: Sequence[tuple[str, float]], bounds: Bounds | None = SHARE) -> IntervalEstimate:
    """Mean of the values, by the prompt that each names; `bounds` None: they have none. Raises ValueError for none."""
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    for prompt, value in values:
        totals[prompt] = totals.get(prompt, 0.0) + value
        counts[prompt] = counts.get(prompt, 0) + 1
    return ratio_estimate(list(totals.values()), list(counts.values()), bounds)


def ratio_estimate(totals: Sequence[float], counts: Sequence[int], bounds: Bounds | None = SHARE) -> IntervalEstimate:
    """sum(totals) / sum(counts), one entry a prompt. Raises ValueError when nothing was counted."""
    low, high = interval95(totals, counts, bounds)
    n = sum(counts)
    return IntervalEstimate(sum(totals) / n, low, high, n, sum(count > 0 for count in counts))


def difference(first: Sequence[float], second: Sequence[float], counts: Sequence[int]) -> IntervalEstimate:
    """Of two shares, sum(first - second) / sum(counts); entry i of all three is prompt i's."""
    return ratio_estimate([a - b for a, b in zip(first, second, strict=True)], counts, (-1.0, 1.0))
