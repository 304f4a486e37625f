"""Strengths: an independent implementation, a case by hand, a planted order with ties, intervals that cover."""

from __future__ import annotations

import math

import evalica
import numpy as np
import pytest
from numpy.typing import NDArray

from annotation_api.models.leaderboard.davidson import Games, fit

PAIRS = [(i, j) for i in range(4) for j in range(i + 1, 4)]
PLANTED = np.array([0.9, 0.2, -0.3, -0.8])
TIE = math.log(0.6)  # ties beside wins and losses of equals


def design_of(pairs: list[tuple[int, int]], models: int) -> NDArray[np.float64]:
    design = np.zeros((len(pairs), models))
    for n, (i, j) in enumerate(pairs):
        design[n, i], design[n, j] = 1, -1
    return design


def played(chance: np.random.Generator, tasks: int, length: float = 0.0) -> Games:
    """Each task compares all four models once; with `length`, one response of two is twice as long, by a coin."""
    pairs = PAIRS * 2 if length else PAIRS
    doublings = np.array([1.0] * len(PAIRS) + [-1.0] * len(PAIRS)) if length else np.zeros(len(PAIRS))
    design = design_of(pairs, 4)
    lead = design @ PLANTED + length * doublings
    likely = np.exp(np.stack([lead / 2, -lead / 2, np.full(len(pairs), TIE)], axis=1))
    likely /= likely.sum(axis=1, keepdims=True)
    counts = np.stack([chance.multinomial(1, likely) for _ in range(tasks)]).astype(float)
    return Games(design, doublings, counts)


def test_two_models_by_hand() -> None:
    """12 wins, 4 losses, 8 ties: exp(d) = 12 / 4 and exp(tie) = 8 / sqrt(12 * 4)."""
    games = Games(design_of([(0, 1)], 2), np.zeros(1), np.array([[[12.0, 4.0, 8.0]]]))
    found = fit(games, prior=1e-9)
    assert found.strengths[0] - found.strengths[1] == pytest.approx(math.log(3), abs=1e-6)
    assert math.exp(found.tie) == pytest.approx(8 / math.sqrt(48), abs=1e-5)
    assert found.low is None  # one unit


def test_strengths_are_newmans() -> None:
    """Newman's algorithm (2023) for Davidson's model, as evalica has it."""
    games = played(np.random.default_rng(1), 80)
    xs, ys, winners = [], [], []
    for (i, j), (wins, losses, ties) in zip(PAIRS, games.counts.sum(axis=0), strict=True):
        for outcome, times in ((evalica.Winner.X, wins), (evalica.Winner.Y, losses), (evalica.Winner.Draw, ties)):
            xs += [str(i)] * int(times)
            ys += [str(j)] * int(times)
            winners += [outcome] * int(times)
    theirs = evalica.newman(xs, ys, winners, tolerance=1e-12, limit=10_000)
    logs = np.log([theirs.scores[str(n)] for n in range(4)])
    mine = fit(games, resamples=0, prior=1e-9)
    assert mine.strengths == pytest.approx(logs - logs.mean(), abs=1e-5)
    assert math.exp(mine.tie) == pytest.approx(2 * theirs.v, abs=1e-5)


def test_without_ties_it_is_bradley_and_terrys() -> None:
    chance = np.random.default_rng(2)
    counts = np.zeros((1, len(PAIRS), 3))
    counts[0, :, 0], counts[0, :, 1] = chance.integers(5, 30, len(PAIRS)), chance.integers(5, 30, len(PAIRS))
    mine = fit(Games(design_of(PAIRS, 4), np.zeros(len(PAIRS)), counts), resamples=0, prior=1e-9)
    xs, ys, winners = [], [], []
    for (i, j), (wins, losses, _) in zip(PAIRS, counts[0], strict=True):
        xs += [str(i)] * int(wins + losses)
        ys += [str(j)] * int(wins + losses)
        winners += [evalica.Winner.X] * int(wins) + [evalica.Winner.Y] * int(losses)
    theirs = evalica.bradley_terry(xs, ys, winners, tolerance=1e-12, limit=10_000)
    logs = np.log([theirs.scores[str(n)] for n in range(4)])
    assert mine.strengths == pytest.approx(logs - logs.mean(), abs=1e-4)


def test_a_planted_order_is_found_and_intervals_cover_it() -> None:
    """Of 200 runs, 92 to 98 % cover each planted strength; of the best, the order is found in nearly all."""
    chance, runs = np.random.default_rng(0), 200
    covered, ordered = np.zeros(4), 0
    truth = PLANTED - PLANTED.mean()
    for _ in range(runs):
        found = fit(played(chance, 200), resamples=200)
        assert found.low is not None
        assert found.high is not None
        covered += (found.low <= truth) & (truth <= found.high)
        ordered += list(np.argsort(-found.strengths)) == [0, 1, 2, 3]
    assert ((covered / runs >= 0.92) & (covered / runs <= 0.98)).all(), covered / runs
    assert ordered >= 0.95 * runs


def test_length_is_taken_out() -> None:
    """Twice the length gains 0.7, whoever wrote it; without the covariate the same games say less of strengths."""
    games = played(np.random.default_rng(3), 600, length=0.7)
    found = fit(games, length=True)
    assert found.length_interval is not None
    low, high = found.length_interval
    assert low < 0.7 < high
    assert found.length == pytest.approx(0.7, abs=0.15)
    assert found.strengths == pytest.approx(PLANTED - PLANTED.mean(), abs=0.2)
    assert fit(games, resamples=0).length == 0.0


def test_a_model_that_never_lost_has_a_strength() -> None:
    counts = np.zeros((12, 1, 3))
    counts[:, 0, 0] = 5
    found = fit(Games(design_of([(0, 1)], 2), np.zeros(1), counts))
    assert np.isfinite(found.strengths).all()
    assert found.strengths[0] > 1
