"""What PPO adjusts as it goes, against numbers worked by hand."""

import statistics

import pytest
import torch

from alignment.ppo.controllers import KLController, ScoreScaler
from alignment.ppo.learner import WeightAverage
from tests.support.alignment import tiny


def test_a_fixed_coefficient_stays() -> None:
    controller = KLController(0.05)
    controller.observe(kl=50.0, episodes=512)
    assert controller.coef == 0.05


@pytest.mark.parametrize(
    ("kl", "error"),
    [(6.6, 0.1), (6.0, 0.0), (5.4, -0.1), (600.0, 0.2), (0.0, -0.2)],  # clipped at a fifth either way
)
def test_the_coefficient_follows_ziegler(kl: float, error: float) -> None:
    """Ziegler et al. 2019, 2.2: coef * (1 + K e); with 256 episodes of a horizon of 10,000, K = 0.0256."""
    controller = KLController(0.15, target=6.0, horizon=10_000)
    controller.observe(kl, episodes=256)
    assert controller.coef == pytest.approx(0.15 * (1 + 0.0256 * error))


def test_too_much_kl_is_answered_with_more_and_more_price() -> None:
    controller = KLController(0.1, target=2.0, horizon=100)
    for _ in range(3):
        controller.observe(kl=4.0, episodes=10)
    assert controller.coef == pytest.approx(0.1 * 1.02**3)
    again = KLController(0.1, target=2.0, horizon=100)
    again.load(controller.state())
    assert again.coef == controller.coef


def test_running_statistics_are_those_of_all_scores_so_far() -> None:
    scaler, scores = ScoreScaler(running=True), [[1.0, 4.0, 2.5], [7.0, -3.0], [0.5]]
    for rollout in scores:
        scaler.observe(rollout)
    flat = [x for rollout in scores for x in rollout]
    assert scaler.current() == pytest.approx((statistics.mean(flat), statistics.stdev(flat)))


def test_evaluations_keep_the_scale_of_the_first() -> None:
    """Else two policies would be compared on two scales."""
    scaler = ScoreScaler(running=True)
    first = scaler.fixed([1.0, 3.0])
    scaler.observe([100.0, 200.0])
    assert first == scaler.fixed([5.0]) == (2.0, pytest.approx(2**0.5))
    assert scaler.current()[0] > 10
    again = ScoreScaler(running=True)
    again.load(scaler.state())
    assert (again.fixed([]), again.current()) == (scaler.fixed([]), scaler.current())


def test_the_reference_scale_divides_only() -> None:
    """The reward model's mean on reference answers is taken off where it scores."""
    scaler = ScoreScaler(2.5)
    scaler.observe([9.0, 11.0])
    assert scaler.current() == scaler.fixed([3.0]) == (0.0, 2.5)


def test_the_average_follows_and_can_be_worn() -> None:
    """Ouyang et al. 2022, C.4: decay 0.992. A weight that jumps from 1 to 2 moves the average by 0.008."""
    model = tiny.causal()
    weight = model.lm_head.weight
    with torch.no_grad():
        weight.fill_(1.0)
        average = WeightAverage(model, decay=0.992)
        weight.fill_(2.0)
    average.follow()
    with average.applied():
        torch.testing.assert_close(weight, torch.full_like(weight, 1.008))
    torch.testing.assert_close(weight, torch.full_like(weight, 2.0))
    average.follow()
    torch.testing.assert_close(average.weights["lm_head.weight"], torch.full_like(weight, 1.008 + 0.008 * 0.992))
