"""Does a reward model measure length: constant rules, accuracy with length held out of it, correlations.

Three controls, none of which needs a model of how length acts:
  constant rules   what "always the longer" (or the shorter) would get on the same comparisons
  balanced         the mean of the accuracy where the longer was preferred and where the shorter was.
                   Any rule that looks at length alone gets exactly one half there, whatever annotators like
  matched          accuracy on the pairs whose lengths are within a tenth of each other
Length-controlled AlpacaEval (Dubois et al. 2024, section 3) regresses instead, with tanh of the length
difference; balancing needs no such shape and reads as an accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alignment.reward.report.accuracy import IntervalEstimate, ScoredPair, accuracy, clustered
from alignment.shared.intervals import score_interval

MATCHED = math.log(1.1)  # of length_ratio
FEWEST = 10  # comparisons on each side, below which nothing is said
BORDERS = (-math.log(2), -MATCHED, MATCHED, math.log(2))  # of length_ratio, between the names
NAMES = ("under half as long", "shorter", "about as long", "longer", "over twice as long")


@dataclass(frozen=True)
class Lengths:
    """All that is said about length; None where too few comparisons speak."""

    longer: IntervalEstimate  # what always preferring the longer would get; the shorter rule gets the rest
    balanced: IntervalEstimate | None
    matched: IntervalEstimate | None
    by_difference: dict[str, IntervalEstimate]  # accuracy by how long the preferred response is beside the other
    pearson: float | None  # of score gap and length gap, over the comparisons
    spearman: float | None


def measure_lengths(rows: Sequence[ScoredPair]) -> Lengths:
    """Raises ValueError for no comparison."""
    matched = [row for row in rows if abs(row.length_ratio) <= MATCHED]
    gaps = torch.tensor([row.gap for row in rows], dtype=torch.float64)
    sizes = torch.tensor([float(row.longer) for row in rows], dtype=torch.float64)
    return Lengths(
        longer=clustered([(row.prompt, longer_wins(row)) for row in rows]),
        balanced=balanced_accuracy(rows),
        matched=accuracy(matched) if len(matched) >= FEWEST else None,
        by_difference=_by_difference(rows),
        pearson=symmetric_correlation(gaps, sizes),
        spearman=symmetric_correlation(*(symmetric_ranks(values) for values in (gaps, sizes))),
    )


def longer_wins(row: ScoredPair) -> float:
    """Whether a rule that always prefers the longer response is right: 1, 0, or half for equal lengths."""
    return 0.5 if row.longer == 0 else float(row.longer > 0)


def balanced_accuracy(rows: Sequence[ScoredPair]) -> IntervalEstimate | None:
    """Mean of the accuracies where the longer and where the shorter was preferred, with an interval over prompts.

    Equal lengths count on both sides. None when a side has fewer than FEWEST comparisons.
    """
    sums = _sums_by_prompt(rows)  # (N, 4): right and counted, longer preferred; right and counted, shorter preferred
    right, counted = sums[:, 0::2], sums[:, 1::2]  # (N, 2), a column a side
    whole = counted.sum(dim=0)
    if float(whole.min()) < FEWEST:
        return None
    shares = right.sum(dim=0) / whole
    # A prompt's pull on the mean of the two shares: what it says on both sides goes together.
    errors = ((right - shares * counted) / whole).mean(dim=1)
    # As many prompts as each side is worth, and no more than there are, where they speak on both.
    worth = 4 / float((counted.square().sum(dim=0) / whole.square()).sum())
    value, prompts = float(shares.mean()), len(sums)
    low, high = score_interval(value, float(errors.square().sum()), min(worth, prompts))
    return IntervalEstimate(value, low, high, len(rows), prompts)


def symmetric_correlation(a: Tensor, b: Tensor) -> float | None:
    """Pearson's correlation of two gaps `(M,)`, each pair seen from both sides, so that both means are 0."""
    size = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else None


def symmetric_ranks(gaps: Tensor) -> Tensor:
    """Ranks of the gaps among the gaps and their negatives, ties averaged, centred: `(M,)` (for Spearman)."""
    both = torch.cat([gaps, -gaps])
    ordered = both.sort().values
    below = torch.searchsorted(ordered, gaps, right=False)
    through = torch.searchsorted(ordered, gaps, right=True)
    return (below + through).double() / 2 - len(gaps)


def _sums_by_prompt(rows: Sequence[ScoredPair]) -> Tensor:
    sums: dict[str, list[float]] = {}
    for row in rows:
        entry = sums.setdefault(row.prompt, [0.0] * 4)
        for place, weight in ((0, longer_wins(row)), (2, 1 - longer_wins(row))):
            entry[place] += weight * row.won
            entry[place + 1] += weight
    return torch.tensor(list(sums.values()), dtype=torch.float64)


def _by_difference(rows: Sequence[ScoredPair]) -> dict[str, IntervalEstimate]:
    parts: dict[str, list[ScoredPair]] = {name: [] for name in NAMES}
    for row in rows:
        parts[NAMES[sum(row.length_ratio > border for border in BORDERS)]].append(row)
    return {name: accuracy(part) for name, part in parts.items() if part}
