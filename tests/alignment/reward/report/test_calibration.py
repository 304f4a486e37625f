"""Calibration: what the model states against what happened, by hand."""

import math

import pytest
import torch

from alignment.reward.report.calibration import calibration_curve, calibration_error, log_loss, temperature


def gaps_of(stated: float, right: int, wrong: int) -> torch.Tensor:
    gap = math.log(stated / (1 - stated))
    return torch.tensor([gap] * right + [-gap] * wrong, dtype=torch.float64)


def test_the_curve_has_a_point_where_the_model_is_equally_sure() -> None:
    """0.75 stated and right in 3 of 4; 0.95 stated and right in 1 of 2: off by 0 and by 0.45."""
    curve = calibration_curve(torch.cat([gaps_of(0.75, 3, 1), gaps_of(0.95, 1, 1)]))
    assert [(round(b.stated, 6), round(b.happened, 6), b.n) for b in curve] == [(0.75, 0.75, 4), (0.95, 0.5, 2)]
    error = calibration_error(torch.cat([gaps_of(0.75, 3, 1), gaps_of(0.95, 1, 1)]))
    assert error == pytest.approx(0.45 * 2 / 6)


def test_the_loss_by_hand() -> None:
    expected = (math.log1p(math.exp(-1)) + math.log(2) + math.log1p(math.exp(1))) / 3
    assert log_loss(torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)) == pytest.approx(expected)


def test_probabilities_of_one_fall_in_the_last_bin() -> None:
    assert calibration_error(torch.full((5,), 1000.0)) == pytest.approx(0)


def test_a_model_that_is_twice_too_sure_has_temperature_two() -> None:
    """Right in 3 of 4 at a gap of 2 ln 3: the gap that states 0.75 is ln 3."""
    gaps = 2 * gaps_of(0.75, 300, 100)
    assert temperature(gaps) == pytest.approx(2.0, rel=0.02)
    assert log_loss(gaps / temperature(gaps)) < log_loss(gaps)


def test_the_temperature_of_comparisons_that_are_all_right_is_bounded() -> None:
    assert temperature(torch.ones(10)) == pytest.approx(0.02, rel=0.01)
