"""Bradley and Terry's strengths where ties are allowed (Davidson 1970), with intervals from a bootstrap over tasks.

With d = s_i - s_j (+ length * doublings of length), a win, a loss and a tie are as likely as exp(d / 2), exp(-d / 2)
and exp(tie) to one another: a softmax whose likelihood is concave, so Newton's method finds its top. Departs from the
paper by a small Gaussian prior on the strengths: without it a model that never lost would be infinitely strong. All
resamples are fitted at once. Axes: B resamples, U units that are drawn, C cells (two models, a length), M models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment.shared.intervals import Z95

PRIOR = 0.01  # precision of a strength around 0
STEPS = 40
LONGEST_STEP = 1.5
CLOSE = 1e-9
RESAMPLES = 400
SEED = 0  # the same page shows the same intervals
FEWEST_UNITS = 10  # below which a resample says nothing

Array = NDArray[Any]


@dataclass(frozen=True)
class Games:
    """What was counted."""

    design: Array  # (C, M): 1 the first model, -1 the second
    doublings: Array  # (C,): of length, of the first to the second
    counts: Array  # (U, C, 3): wins of the first, losses, ties


@dataclass(frozen=True)
class Fit:
    """Strengths have mean 0."""

    strengths: Array  # (M,)
    length: float  # what a doubling of length adds; 0 where it was not controlled
    tie: float
    low: Array | None  # (M,): 95 %; None where too few units were counted
    high: Array | None
    length_interval: tuple[float, float] | None


def fit(games: Games, *, length: bool = False, resamples: int = RESAMPLES, prior: float = PRIOR) -> Fit:
    """The strengths on all games, with 95 % intervals from how far they differ between resamples."""
    columns = np.column_stack([games.design, games.doublings]) if length else games.design
    models = games.design.shape[1]
    whole = _newton(columns, games.counts.sum(axis=0)[None], models, prior)[0]
    drawn = _resampled(games, columns, resamples, prior) if len(games.counts) >= FEWEST_UNITS and resamples else None
    effect = float(whole[models]) if length else 0.0
    if drawn is None:
        return Fit(whole[:models], effect, float(whole[-1]), None, None, None)
    half = Z95 * drawn.std(axis=0, ddof=1)  # their percentiles cover less: of 200 resamples few lie out there
    low, high = whole - half, whole + half
    interval = (float(low[models]), float(high[models])) if length else None
    return Fit(whole[:models], effect, float(whole[-1]), low[:models], high[:models], interval)


def _resampled(games: Games, columns: Array, resamples: int, prior: float) -> Array:
    """(B, parameters): each resample draws as many units as there are, with replacement."""
    units = len(games.counts)
    draws = np.random.default_rng(SEED).multinomial(units, np.full(units, 1 / units), size=resamples)
    counts = np.tensordot(draws.astype(float), games.counts, axes=1)
    return _newton(columns, counts, games.design.shape[1], prior)


def _newton(columns: Array, counts: Array, models: int, prior: float) -> Array:
    """(B, parameters): strengths, length if it is a column, tie; for counts (B, C, 3)."""
    parameters = columns.shape[1] + 1
    at = np.zeros((len(counts), parameters))
    precision = np.r_[np.full(models, prior), np.full(parameters - models, 1e-6)]
    games = counts.sum(axis=2)
    for _ in range(STEPS):
        step = _step(columns, counts, games, at, precision)
        at += step
        if np.abs(step).max() < CLOSE:
            break
    at[:, :models] -= at[:, :models].mean(axis=1, keepdims=True)
    return at


def _step(columns: Array, counts: Array, games: Array, at: Array, precision: Array) -> Array:
    lead = at[:, :-1] @ columns.T
    likely = np.stack([lead / 2, -lead / 2, np.broadcast_to(at[:, -1:], lead.shape)], axis=2)
    likely = np.exp(likely - likely.max(axis=2, keepdims=True))
    likely /= likely.sum(axis=2, keepdims=True)
    margin, tie = (likely[..., 0] - likely[..., 1]) / 2, likely[..., 2]
    up = ((counts[..., 0] - counts[..., 1]) / 2 - games * margin) @ columns
    gradient = np.column_stack([up, (counts[..., 2] - games * tie).sum(axis=1)]) - precision * at
    bend = games * ((1 - tie) / 4 - margin**2)
    curve = np.empty((len(at), at.shape[1], at.shape[1]))
    curve[:, :-1, :-1] = np.matmul(columns.T[None] * bend[:, None, :], columns[None])
    curve[:, -1, :-1] = curve[:, :-1, -1] = -(games * margin * tie) @ columns
    curve[:, -1, -1] = (games * tie * (1 - tie)).sum(axis=1)
    curve += np.eye(at.shape[1]) * precision
    step: Array = np.linalg.solve(curve, gradient[..., None])[..., 0]
    longest = np.abs(step).max(axis=1, keepdims=True)
    step *= np.minimum(1.0, LONGEST_STEP / np.maximum(longest, 1e-300))
    return step
