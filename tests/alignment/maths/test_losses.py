"""Losses against numbers worked by hand, and against the way in which a batch is cut."""

import math

import pytest
import torch

from alignment.maths.losses import ComparedPairs, PolicyTokens, ValueTokens, policy_loss, ranking_loss, value_loss

T, F = True, False


def near(actual: torch.Tensor, expected: object) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), atol=1e-6, rtol=1e-6)


def test_policy_loss_by_hand() -> None:
    """Ratios 1.5, 0.5, 1.1 with clip .2: only a ratio that has gone too far the good way is clipped."""
    logprobs = torch.tensor([[math.log(1.5), math.log(0.5), math.log(1.1), 7.0]])
    mask = torch.tensor([[T, T, T, F]])
    old = torch.zeros(1, 4)
    good = policy_loss(PolicyTokens(logprobs, old, torch.tensor([[1.0, 1.0, 1.0, 9.0]]), mask), 0.2)
    near(good.loss, -(1.2 + 0.5 + 1.1) / 3)
    near(good.clip_fraction, 1 / 3)
    bad = policy_loss(PolicyTokens(logprobs, old, torch.tensor([[-2.0, -2.0, -2.0, 9.0]]), mask), 0.2)
    near(bad.loss, 2 * (1.5 + 0.8 + 1.1) / 3)
    near(bad.ratio, 3.1 / 3)
    near(bad.approx_kl, (0.5 - math.log(1.5) - 0.5 - math.log(0.5) + 0.1 - math.log(1.1)) / 3)


def test_the_ratio_may_rise_further_than_it_falls() -> None:
    """Yu et al. 2025, eq. 10. Ratios 1.25, 0.5, 1.5 with clip .2 below and .28 above."""
    logprobs = torch.tensor([[1.25, 0.5, 1.5]]).log()
    mask, old = torch.tensor([[T, T, T]]), torch.zeros(1, 3)
    good = policy_loss(PolicyTokens(logprobs, old, torch.ones(1, 3), mask), 0.2, clip_range_high=0.28)
    near(good.loss, -(1.25 + 0.5 + 1.28) / 3)
    bad = policy_loss(PolicyTokens(logprobs, old, -torch.ones(1, 3), mask), 0.2, clip_range_high=0.28)
    near(bad.loss, (1.25 + 0.8 + 1.5) / 3)


def test_a_clipped_token_gives_no_gradient() -> None:
    logprobs = torch.tensor([[0.5, 0.0]], requires_grad=True)
    tokens = PolicyTokens(logprobs, torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
    policy_loss(tokens, 0.2).loss.backward()
    near(logprobs.grad, [[0.0, -0.5]])


def test_value_loss_by_hand() -> None:
    """Returns 1; old 0. A new value of .5 counts as .2 (error .8), of 2 as it is (error 1, clipped .8)."""
    values, mask = torch.tensor([[0.5, 2.0, 0.1, 5.0]]), torch.tensor([[T, T, T, F]])
    out = value_loss(ValueTokens(values, torch.zeros(1, 4), torch.ones(1, 4), mask), 0.2)
    near(out.loss, 0.5 * (0.64 + 1.0 + 0.81) / 3)
    near(out.clip_fraction, 1 / 3)


def test_ranking_loss_by_hand() -> None:
    """Scores 2, 1, 0 in that order: gaps 1, 2, 1, averaged within the ranking."""
    scores = torch.tensor([2.0, 1.0, 0.0])
    out = ranking_loss(scores, ComparedPairs(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), torch.full((3,), 1 / 3)))
    near(out.loss, (2 * math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 3)
    near(out.accuracy, 1.0)
    near(out.margin, 4 / 3)


def test_equal_scores_cost_log_two_and_centering_adds_the_squared_sum() -> None:
    scores, better, worse, weights = torch.tensor([3.0, 3.0]), torch.tensor([0]), torch.tensor([1]), torch.ones(1)
    near(ranking_loss(scores, ComparedPairs(better, worse, weights)).loss, math.log(2))
    near(ranking_loss(scores, ComparedPairs(better, worse, weights), centering_coef=0.01).loss, math.log(2) + 0.36)


def test_a_ranking_counts_once_whatever_its_k() -> None:
    """Three responses (three comparisons) and two (one comparison) weigh the same."""
    scores = torch.tensor([0.0, 0.0, 0.0, 4.0, 0.0])
    better, worse = torch.tensor([0, 0, 1, 3]), torch.tensor([1, 2, 2, 4])
    out = ranking_loss(scores, ComparedPairs(better, worse, torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0])))
    near(out.loss, (math.log(2) + math.log1p(math.exp(-4))) / 2)


def test_bf16_scores_are_compared_in_float32() -> None:
    scores = torch.tensor([1.0, 0.5], dtype=torch.bfloat16)
    out = ranking_loss(scores, ComparedPairs(torch.tensor([0]), torch.tensor([1]), torch.ones(1)))
    assert out.loss.dtype is torch.float32
    near(out.loss, math.log1p(math.exp(-0.5)))


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_micro_batches_add_up_to_the_batch(cut: int) -> None:
    """Loss and gradient do not depend on how a batch of unequal responses is cut."""
    generator = torch.Generator().manual_seed(1)
    logprobs, old, advantages, values, returns = (torch.randn(4, 5, generator=generator) for _ in range(5))
    mask = torch.arange(5) < torch.tensor([5, 1, 3, 2])[:, None]

    def run(parts: list[slice]) -> tuple[float, torch.Tensor]:
        x, v = logprobs.clone().requires_grad_(), values.clone().requires_grad_()
        total = 0.0
        for p in parts:
            loss = policy_loss(PolicyTokens(x[p], old[p], advantages[p], mask[p]), 0.2, denominator=mask.sum()).loss
            loss = loss + value_loss(ValueTokens(v[p], values[p] + 0.3, returns[p], mask[p]), 0.2, mask.sum()).loss
            loss.backward()
            total += loss.item()
        return total, torch.cat([x.grad, v.grad])

    whole, pieces = run([slice(0, 4)]), run([slice(0, cut), slice(cut, 4)])
    assert whole[0] == pytest.approx(pieces[0], abs=1e-6)
    torch.testing.assert_close(whole[1], pieces[1], atol=1e-7, rtol=1e-6)
