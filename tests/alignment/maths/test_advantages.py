"""Advantages against numbers worked by hand, and against padding."""

import math

import pytest
import torch

from alignment.maths.advantages import (
    explained_variance,
    gae,
    kl_estimate,
    leave_one_out,
    less_the_others,
    masked_mean,
    masked_var,
    shaped_rewards,
    whiten,
)

T, F = True, False


def near(actual: torch.Tensor, expected: object) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), atol=1e-6, rtol=1e-6)


def test_masked_mean_and_variance_skip_what_is_masked() -> None:
    x = torch.tensor([[1.0, 2.0, 9.0], [6.0, math.nan, math.inf]])
    mask = torch.tensor([[T, T, F], [T, F, F]])
    near(masked_mean(x, mask), 3.0)
    near(masked_var(x, mask), 7.0)  # (4 + 1 + 9) / (3 - 1)


def test_shares_of_a_global_mean_add_up() -> None:
    x, mask = torch.tensor([[1.0, 2.0], [6.0, 0.0]]), torch.tensor([[T, T], [T, F]])
    near(masked_mean(x[:1], mask[:1], 3) + masked_mean(x[1:], mask[1:], 3), 3.0)


def test_what_the_critic_missed_on_the_others_is_taken_by_hand() -> None:
    """Two prompts of two responses. The critic missed .5 and -.1 on the first: each row loses the other's."""
    advantages = torch.tensor([[0.5, 0.2, 9.0], [-0.1, 0.3, 0.4], [1.0, 9.0, 9.0], [2.0, 1.0, 9.0]])
    mask = torch.tensor([[T, T, F], [T, T, T], [T, F, F], [T, T, F]])
    near(
        less_the_others(advantages, mask, 2),
        [[0.6, 0.3, 0.0], [-0.6, -0.2, -0.1], [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
    )


def test_a_critic_that_knows_the_prompt_alone_makes_it_rloo() -> None:
    scores, values = torch.tensor([1.0, 3.0, -2.0]), torch.full((3, 4), 0.7)
    mask = torch.ones(3, 4, dtype=torch.bool)
    rewards = torch.zeros(3, 4)
    rewards[:, -1] = scores
    advantages, _ = gae(rewards, values, mask, 1.0, 1.0)
    near(less_the_others(advantages, mask, 3), leave_one_out(scores, 3)[:, None].expand(3, 4).tolist())


def test_whitening_by_hand() -> None:
    x, mask = torch.tensor([[1.0, 2.0, 3.0, 50.0]]), torch.tensor([[T, T, T, F]])
    near(whiten(x, mask), [[-1.0, 0.0, 1.0, 0.0]])  # mean 2, unbiased deviation 1


def test_whitening_one_token_or_equal_tokens_gives_zero() -> None:
    near(whiten(torch.tensor([[5.0, 1.0]]), torch.tensor([[T, F]])), [[0.0, 0.0]])
    near(whiten(torch.tensor([[5.0, 5.0]]), torch.tensor([[T, T]])), [[0.0, 0.0]])


@pytest.mark.parametrize(
    ("estimator", "expected"),
    # log-ratios of ln 2 and -ln 2: k3 = 1/r - 1 + ln r with r = policy / reference
    [
        ("k1", [math.log(2), -math.log(2)]),
        ("k2", [math.log(2) ** 2 / 2, math.log(2) ** 2 / 2]),
        ("k3", [0.5 - 1 + math.log(2), 2 - 1 - math.log(2)]),
    ],
)
def test_kl_estimators_by_hand(estimator: str, expected: list[float]) -> None:
    near(
        kl_estimate(torch.tensor([-1.0, -1.0]), torch.tensor([-1 - math.log(2), -1 + math.log(2)]), estimator), expected
    )


def test_kl_estimators_are_unbiased_where_they_say_so() -> None:
    """Expectation under the policy, over a vocabulary of three, in closed form."""
    policy, reference = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    truth = (policy * (policy / reference).log()).sum()
    for estimator in ("k1", "k3"):
        near((policy * kl_estimate(policy.log(), reference.log(), estimator)).sum(), truth.item())


def test_k3_survives_a_token_that_the_reference_cannot_explain() -> None:
    assert kl_estimate(torch.tensor(-200.0), torch.tensor(0.0), "k3").isfinite()


def test_the_score_lands_on_the_last_real_token() -> None:
    kl = torch.tensor([[0.5, -1.0, 9.0], [1.0, 1.0, 1.0], [9.0, 9.0, 2.0]])
    mask = torch.tensor([[T, T, F], [T, T, T], [F, F, T]])
    rewards = shaped_rewards(torch.tensor([3.0, -2.0, 1.0]), kl, mask, kl_coef=0.1)
    near(rewards, [[-0.05, 3.1, 0.0], [-0.1, -0.1, -2.1], [0.0, 0.0, 0.8]])


def test_a_response_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="response 1 has no token"):
        shaped_rewards(torch.zeros(2), torch.zeros(2, 2), torch.tensor([[T, F], [F, F]]), 0.1)


def test_gae_by_hand() -> None:
    """gamma .9, lambda .8: delta = 1.4, 2.35, 1.5; A = 1.4 + .72 (2.35 + .72 * 1.5), 2.35 + .72 * 1.5, 1.5."""
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 1.0, 1.5]])
    advantages, returns = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), 0.9, 0.8)
    near(advantages, [[3.8696, 3.43, 1.5]])
    near(returns, [[4.3696, 4.43, 3.0]])


def test_gae_extremes() -> None:
    """lambda 1: reward to come, less the value. lambda 0: one-step error. The last state's value is 0."""
    rewards, values = torch.tensor([[0.0, 0.0, 5.0]]), torch.tensor([[1.0, 2.0, 4.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    near(gae(rewards, values, mask, 1.0, 1.0)[0], [[4.0, 3.0, 1.0]])
    near(gae(rewards, values, mask, 1.0, 0.0)[0], [[1.0, 2.0, 1.0]])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("amount", [1, 5])
def test_padding_changes_nothing(side: str, amount: int) -> None:
    """Garbage on padding, on either side and in any amount, is never read."""
    generator = torch.Generator().manual_seed(0)
    scores, kl, values = (torch.randn(shape, generator=generator) for shape in [(3,), (3, 6), (3, 6)])
    mask = torch.tensor([[T] * 6, [T] * 4 + [F] * 2, [T] + [F] * 5])

    def through(kl: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        rewards = shaped_rewards(scores, kl, mask, 0.1)
        advantages, returns = gae(rewards, values, mask, 0.97, 0.9)
        return [rewards, advantages, returns, whiten(advantages, mask)]

    def pad(x: torch.Tensor, value: float) -> torch.Tensor:
        return torch.nn.functional.pad(x, (amount, 0) if side == "left" else (0, amount), value=value)

    plain = through(kl, values, mask)
    padded_mask = pad(mask, False)
    padded = through(pad(kl, math.nan), pad(values, 1e9), padded_mask)
    for before, after in zip(plain, padded, strict=True):
        torch.testing.assert_close(before[mask], after[padded_mask], atol=1e-6, rtol=1e-6)
        assert not after[~padded_mask].any()


def test_explained_variance_by_hand() -> None:
    returns, mask = torch.tensor([[1.0, 3.0, 7.0]]), torch.tensor([[T, T, F]])
    near(explained_variance(returns, returns, mask), 1.0)
    near(explained_variance(torch.tensor([[2.0, 2.0, 0.0]]), returns, mask), 0.0)
    near(explained_variance(torch.tensor([[3.0, 1.0, 0.0]]), returns, mask), -3.0)  # 1 - 8 / 2
    near(explained_variance(returns, torch.ones(1, 3), mask), 0.0)
