"""How good is a reward model, and how sure are we: accuracy with its interval, whole and in parts.

Prompts are the unit of resampling: the comparisons of one ranking share their prompt and their
annotator, so counting them as independent would make every interval too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alignment.records import Ranking

RESAMPLES = 2000
MANY = 1000  # prompts above which no resampling is needed
DRAWS_AT_ONCE = 2_000_000  # bounds the memory of a bootstrap over many prompts
Z95 = 1.959964


@dataclass(frozen=True)
class Estimate:
    """A share or mean with its 95% interval."""

    value: float
    low: float
    high: float
    n: int  # what was counted: comparisons, replies
    prompts: int = 0  # the independent units behind them


@dataclass(frozen=True)
class Comparison:
    """One annotator prefers one response to another, and what a scorer says to that."""

    prompt: str  # the prompt's key: the unit of resampling
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


def compare(rankings: Sequence[Ranking], scores: Sequence[Sequence[float]]) -> list[Comparison]:
    """Every comparison that the rankings hold, with the scorer's gap: `scores` has K numbers for each ranking."""
    found = []
    for ranking, row in zip(rankings, scores, strict=True):
        sizes = [len(text) for text in ranking.responses]
        for i, j in ranking.pairs():
            found.append(
                Comparison(
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


def accuracy(rows: Sequence[Comparison]) -> Estimate:
    """Share of comparisons that the scorer orders as the annotator did. Raises ValueError for none."""
    return clustered([(row.prompt, row.won) for row in rows])


def accuracy_by(rows: Sequence[Comparison], key: Callable[[Comparison], str]) -> dict[str, Estimate]:
    """Accuracy of each part, sorted by name; comparisons whose key is empty belong to none."""
    parts: dict[str, list[Comparison]] = {}
    for row in rows:
        if name := key(row):
            parts.setdefault(name, []).append(row)
    return {name: accuracy(parts[name]) for name in sorted(parts)}


def clustered(values: Sequence[tuple[str, float]]) -> Estimate:
    """Mean of the values, resampled by the prompt that each names. Raises ValueError for none."""
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    for prompt, value in values:
        totals[prompt] = totals.get(prompt, 0.0) + value
        counts[prompt] = counts.get(prompt, 0) + 1
    return ratio_estimate(list(totals.values()), list(counts.values()))


def ratio_estimate(totals: Sequence[float], counts: Sequence[int], seed: int = 0) -> Estimate:
    """sum(totals) / sum(counts), with a percentile bootstrap over the entries (one a prompt).

    Of more than MANY entries the linearised error is as good and much faster (Cochran 1977, eq. 2.39).
    Where all entries say the same, resampling knows no doubt; the interval is then Wilson's for so many
    trials. Raises ValueError when nothing was counted.
    """
    top, bottom = torch.tensor(totals, dtype=torch.float64), torch.tensor(counts, dtype=torch.float64)
    if not bottom.sum() > 0:
        raise ValueError("nothing was counted")
    used = bottom > 0
    top, bottom = top[used], bottom[used]
    value, n = float(top.sum() / bottom.sum()), int(bottom.sum())
    if len(top) > MANY:
        half = Z95 * float((top - value * bottom).square().sum().sqrt() / bottom.sum())
        low, high = value - half, value + half
    else:
        ratios = torch.cat([top[d].sum(dim=1) / bottom[d].sum(dim=1) for d in resamples(len(top), seed)])
        low, high = torch.quantile(ratios, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    if high - low < 1e-12 and 0 <= value <= 1:
        low, high = wilson(value, len(top))
    return Estimate(value, low, high, n, len(top))


def difference(first: Sequence[float], second: Sequence[float], counts: Sequence[int]) -> Estimate:
    """sum(first - second) / sum(counts), resampled by prompt; entry i of all three is prompt i's."""
    return ratio_estimate([a - b for a, b in zip(first, second, strict=True)], counts)


def resamples(entries: int, seed: int = 0) -> Iterator[Tensor]:
    """RESAMPLES draws of `entries` indices with replacement, some at a time: `(S, entries)`."""
    generator = torch.Generator().manual_seed(seed)
    size = max(1, min(RESAMPLES, DRAWS_AT_ONCE // entries))
    for start in range(0, RESAMPLES, size):
        yield torch.randint(entries, (min(size, RESAMPLES - start), entries), generator=generator)


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95% interval of a share in n independent trials (Wilson 1927)."""
    middle = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)
