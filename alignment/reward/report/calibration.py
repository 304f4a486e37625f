"""Does a reward model mean what it says: the Bradley-Terry probability sigmoid(gap) against what happened.

Pure functions of the gaps `(M,)`: score of the preferred response less that of the other. Each
comparison is seen from both sides, so that the bins are symmetrical round one half.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Comparisons about which the model was about equally sure."""

    stated: float  # mean probability that the model gave
    happened: float  # share in which it was right
    n: int


def log_loss(gaps: Tensor) -> float:
    """Mean negative log-likelihood of the comparisons under sigmoid(gap)."""
    return float(torch.nn.functional.softplus(-gaps).mean())


def calibration_error(gaps: Tensor) -> float:
    """Expected calibration error of sigmoid(gap) over ten bins (Naeini et al. 2015)."""
    bins = _bins(gaps)
    total = sum(found.n for found in bins)
    return sum(abs(found.stated - found.happened) * found.n / total for found in bins)


def calibration_curve(gaps: Tensor) -> list[Bin]:
    """The bins of probabilities from one half upwards; those below are their mirror image."""
    return [found for found in _bins(gaps) if found.stated >= 0.5]


def temperature(gaps: Tensor, low: float = 0.02, high: float = 50.0) -> float:
    """What the gaps must be divided by to fit what happened best (Guo et al. 2017); above 1: too sure.

    The log-loss is convex in 1/T. Bounded, because comparisons that are all right have no best value.
    """
    sharpness = torch.logspace(-torch.log10(torch.tensor(high)).item(), -torch.log10(torch.tensor(low)).item(), 400)
    losses = torch.nn.functional.softplus(-gaps[None, :] * sharpness.to(gaps)[:, None]).mean(dim=1)
    return float(1 / sharpness[losses.argmin()])


def _bins(gaps: Tensor) -> list[Bin]:
    stated = torch.cat([gaps, -gaps]).sigmoid()
    happened = torch.cat([torch.ones_like(gaps), torch.zeros_like(gaps)])
    place = (stated * BINS).long().clamp(max=BINS - 1)
    found = []
    for number in range(BINS):
        inside = place == number
        if inside.any():
            found.append(Bin(float(stated[inside].mean()), float(happened[inside].mean()), int(inside.sum())))
    return found
