"""How good is a reward model, and how sure are we: accuracy with its interval, loss, calibration.

Prompts are the unit of resampling: the comparisons of one ranking share their prompt and their
annotator, so counting them as independent would make every interval too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from alignment.records import comparisons

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A share or mean with its 95% interval."""

    value: float
    low: float
    high: float
    n: int  # what was counted: comparisons, replies


@dataclass(frozen=True)
class RankingAccuracy:
    """How often scores order two responses as an annotator did, and how sure they were."""

    accuracy: Estimate  # n = comparisons
    loss: float  # mean negative log-likelihood of the comparisons; log 2 = 0.693 knows nothing
    calibration_error: float  # mean distance between stated and observed probability, over 10 bins


def ranking_accuracy(
    scores: Sequence[Sequence[float]], ranks: Sequence[Sequence[int]], prompts: Sequence[str]
) -> RankingAccuracy:
    """Scores of the K responses of each ranking against its ranks (0 = best); equal scores count half.

    `prompts` says which prompt each ranking belongs to: rankings of one prompt are resampled together.
    Raises ValueError when the rankings order nothing.
    """
    gaps = [[row[i] - row[j] for i, j in comparisons(order)] for row, order in zip(scores, ranks, strict=True)]
    flat = torch.tensor([gap for row in gaps for gap in row], dtype=torch.float64)
    if not len(flat):
        raise ValueError("no ranking orders two responses: there is nothing to be right about")
    right, counted = dict.fromkeys(prompts, 0.0), dict.fromkeys(prompts, 0)
    for prompt, row in zip(prompts, gaps, strict=True):
        right[prompt] += sum(_won(gap) for gap in row)
        counted[prompt] += len(row)
    return RankingAccuracy(
        accuracy=ratio_estimate(list(right.values()), list(counted.values())),
        loss=float(torch.nn.functional.softplus(-flat).mean()),
        calibration_error=_calibration_error(flat),
    )


def ratio_estimate(totals: Sequence[float], counts: Sequence[int], seed: int = 0) -> Estimate:
    """sum(totals) / sum(counts), with a percentile bootstrap over the entries (one a prompt).

    Raises ValueError when nothing was counted.
    """
    top, bottom = torch.tensor(totals, dtype=torch.float64), torch.tensor(counts, dtype=torch.float64)
    if not bottom.sum() > 0:
        raise ValueError("nothing was counted")
    used = bottom > 0
    top, bottom = top[used], bottom[used]
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(top), (RESAMPLES, len(top)), generator=generator)
    ratios = top[draws].sum(dim=1) / bottom[draws].sum(dim=1)
    low, high = torch.quantile(ratios, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(float(top.sum() / bottom.sum()), low, high, int(bottom.sum()))


def _won(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def _calibration_error(gaps: torch.Tensor) -> float:
    """Expected calibration error of sigmoid(gap), each comparison seen from both sides: symmetric bins."""
    stated = torch.cat([gaps, -gaps]).sigmoid()
    happened = torch.cat([torch.ones_like(gaps), torch.zeros_like(gaps)])
    error = 0.0
    for low, high in pairwise([*(i / 10 for i in range(10)), 1.0 + 1e-9]):
        inside = (stated >= low) & (stated < high)
        if inside.any():
            error += float((stated[inside].mean() - happened[inside].mean()).abs() * inside.double().mean())
    return error
