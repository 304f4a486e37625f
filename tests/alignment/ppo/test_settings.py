"""Settings of PPO that change what is learned: each against what its source says."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from alignment.maths.advantages import gae, kl_estimate, masked_mean, masked_var, shaped_rewards, whiten
from alignment.maths.losses import kl_loss
from alignment.models.ensemble import EnsembleFile
from alignment.models.load import ScoreScale, save_score_scale
from alignment.ppo import roles
from alignment.ppo.update import targets_of, update
from alignment.shared.config import PPOConfig
from alignment.shared.errors import BadInput
from tests.support.alignment import tiny
from tests.support.alignment.small_ppo import SETTINGS, cast_of, learners, rollout_of, run

pytestmark = pytest.mark.slow

T, F = True, False


def config_of(**settings: object) -> PPOConfig:
    return PPOConfig.model_validate(SETTINGS | settings)


# ---- the KL


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_a_kl_loss_without_the_right_gradient_is_refused(estimator: str) -> None:
    with pytest.raises(ValidationError, match=f"'{estimator}' is no loss: its gradient is .* kl_straight_through"):
        config_of(kl_in="loss", kl_estimator=estimator)
    assert config_of(kl_in="loss", kl_estimator=estimator, kl_straight_through=True)
    assert config_of(kl_in="loss", kl_estimator="k2")


@pytest.mark.parametrize(("other", "value"), [("lora", {"rank": 2}), ("shard_weights", True)])
def test_frozen_roles_rest_only_where_they_are_whole_models(other: str, value: object) -> None:
    with pytest.raises(ValidationError, match=f"offload_frozen does not go with {other}, .* set one of the two"):
        config_of(offload_frozen=True, **{other: value})
    assert config_of(offload_frozen=True)


def expected_gradient(estimator: Any, straight_through: bool) -> torch.Tensor:
    """Of the loss over all of a vocabulary of four, each token weighed by its probability."""
    logits = torch.tensor([0.3, -0.5, 1.2, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log()
    logs = logits.log_softmax(0)
    losses = [
        kl_loss(logs[i : i + 1], reference[i : i + 1], torch.tensor([T]), estimator, straight_through=straight_through)
        for i in range(4)
    ]
    (logs.exp().detach() * torch.stack(losses)).sum().backward()
    assert logits.grad is not None
    return logits.grad


def test_which_estimator_has_the_gradient_of_the_kl() -> None:
    """Schulman 2020 and the comments of verl and OpenRLHF: k2 and straight-through have, k1 has none, k3 another."""
    logits = torch.tensor([0.3, -0.5, 1.2, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    logs = logits.log_softmax(0)
    (logs.exp() * (logs - reference.log())).sum().backward()
    truth, near = logits.grad, torch.testing.assert_close
    for estimator in ("k1", "k2", "k3"):
        near(expected_gradient(estimator, straight_through=True), truth)
    near(expected_gradient("k2", straight_through=False), truth)
    near(expected_gradient("k1", straight_through=False), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    near(expected_gradient("k3", straight_through=False), logs.exp().detach() - reference)  # of KL(reference || policy)


def test_a_straight_through_loss_has_its_own_value() -> None:
    now, reference, mask = torch.tensor([[-1.0, -2.0]]), torch.tensor([[-2.0, -1.5]]), torch.tensor([[T, T]])
    assert float(kl_loss(now, reference, mask, "k1", straight_through=True)) == pytest.approx(0.25)
    assert float(kl_loss(now, reference, mask, "k2")) == pytest.approx((0.5 + 0.125) / 2)


def test_a_kl_in_the_loss_leaves_the_rewards_alone(folders: Path) -> None:
    cast, config = cast_of(folders, kl_in="loss", kl_estimator="k2", whiten_advantages=False, inner_epochs=1)
    rollout = rollout_of(cast, config)
    far = replace(rollout, ref_logprobs=rollout.old_logprobs - 0.5)
    rewards = shaped_rewards(rollout.scores, torch.zeros_like(rollout.values), rollout.mask, kl_coef=0.0)
    plain, _ = gae(rewards, rollout.values, rollout.mask, 1.0, 0.95)
    torch.testing.assert_close(targets_of(far, config).advantages, plain)
    metrics = update(cast, *learners(cast, config), far, config, torch.Generator().manual_seed(0))
    assert metrics["kl_loss"] == pytest.approx(0.125, abs=1e-4)  # k2 of half a nat


def test_a_heavy_kl_loss_pulls_the_policy_back(folders: Path) -> None:
    """With a reference that was moved away, the KL falls from update to update where the loss has it."""
    cast, config = cast_of(folders, kl_in="loss", kl_estimator="k2", kl_coef=10.0, inner_epochs=20)
    with torch.no_grad():
        cast.reference.lm_head.weight.mul_(3.0)  # type: ignore[union-attr]
    rollout = rollout_of(cast, config)
    before = float(kl_estimate(rollout.old_logprobs, rollout.ref_logprobs, "k2")[rollout.mask].mean())
    update(cast, *learners(cast, config), rollout, config, torch.Generator().manual_seed(0))
    now = roles.policy_logprobs(cast, rollout.sequences, config)
    assert float(kl_estimate(now, rollout.ref_logprobs, "k2")[rollout.mask].mean()) < 0.8 * before


def test_the_estimator_prices_each_token(folders: Path) -> None:
    cast, config = cast_of(folders, kl_estimator="k3", kl_coef=2.0, whiten_advantages=False, gae_lambda=1.0)
    rollout = rollout_of(cast, config)
    far = replace(rollout, ref_logprobs=rollout.old_logprobs - math.log(2), values=rollout.values * 0)
    each = 0.5 - 1 + math.log(2)  # k3 with reference / policy = 1/2
    lengths = rollout.sequences.response_lengths
    torch.testing.assert_close(targets_of(far, config).returns[:, 0], far.scores - 2.0 * each * lengths)


def test_the_coefficient_of_a_run_moves_towards_the_target(folders: Path) -> None:
    settings = {"kl_controller": "adaptive", "kl_target": 1e-6, "kl_horizon": 32, "updates": 4, "kl_coef": 0.01}
    coefs = [row["kl_coef"] for row in run(folders, **settings).details["curve"]]
    # The policy starts at a KL of 0, below the target: a fifth less, then a fifth more each time.
    assert coefs == pytest.approx([0.01, 0.008, 0.0096, 0.01152])
    assert [row["kl_coef"] for row in run(folders, updates=2).details["curve"]] == [0.01, 0.01]


def test_an_adaptive_coefficient_needs_a_start() -> None:
    with pytest.raises(ValidationError, match="multiplies kl_coef"):
        config_of(kl_controller="adaptive", kl_coef=0.0)


# ---- scores and rewards


def test_reference_normalisation_scales_scores_and_critic_alike(folders: Path) -> None:
    """Scores in deviations of the reference answers; the critic, born from the reward model, predicts those."""
    plain, config = cast_of(folders, missing_eos="keep")
    save_score_scale(folders / "reward", ScoreScale(0.0, 4.0, "test", 10))
    scaled, scaled_config = cast_of(folders, missing_eos="keep", score_normalisation="reference")
    one, other = rollout_of(plain, config), rollout_of(scaled, scaled_config)
    torch.testing.assert_close(other.scores, one.scores / 4)
    torch.testing.assert_close(other.raw_scores, one.raw_scores)
    torch.testing.assert_close(other.values, one.values / 4)


def test_reference_normalisation_needs_a_measured_scale(folders: Path) -> None:
    with pytest.raises(BadInput, match="does not say how its scores are spread"):
        cast_of(folders, score_normalisation="reference")


def test_running_normalisation_leaves_mean_0_and_deviation_1(folders: Path) -> None:
    cast, config = cast_of(folders, missing_eos="keep", score_normalisation="running")
    rollout = rollout_of(cast, config)
    assert float(rollout.scores.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(rollout.scores.std()) == pytest.approx(1.0, abs=1e-5)


def test_rewards_are_whitened_with_their_mean_kept() -> None:
    """Ziegler et al. 2019, released code: a shifted mean would pay for length."""
    rewards, mask = torch.tensor([[1.0, 2.0, 3.0, 50.0]]), torch.tensor([[T, T, T, F]])
    torch.testing.assert_close(whiten(rewards, mask, keep_mean=True), torch.tensor([[1.0, 2.0, 3.0, 0.0]]))
    wide = whiten(4.0 * rewards, mask, keep_mean=True)
    torch.testing.assert_close(wide, torch.tensor([[7.0, 8.0, 9.0, 0.0]]))


def test_reward_whitening_comes_before_the_advantages(folders: Path) -> None:
    cast, config = cast_of(folders, whiten_rewards=True, whiten_advantages=False, gae_lambda=1.0, kl_coef=0.0)
    rollout = rollout_of(cast, config)
    flat = replace(rollout, values=rollout.values * 0)
    rewards = shaped_rewards(rollout.scores, rollout.values * 0, rollout.mask, 0.0)
    expected = whiten(rewards, rollout.mask, keep_mean=True).sum(dim=1)
    torch.testing.assert_close(targets_of(flat, config).returns[:, 0], expected)


def test_advantages_are_whitened_over_the_batch_not_over_its_parts(folders: Path) -> None:
    cast, config = cast_of(folders)
    rollout = rollout_of(cast, config)
    advantages = targets_of(rollout, config).advantages
    assert float(masked_mean(advantages, rollout.mask)) == pytest.approx(0.0, abs=1e-6)
    assert float(masked_var(advantages, rollout.mask)) == pytest.approx(1.0, abs=1e-4)
    half = advantages[:4], rollout.mask[:4]
    assert abs(float(masked_mean(*half))) > 0.01
    raw = targets_of(rollout, config_of(whiten_advantages=False)).advantages
    assert abs(float(masked_mean(raw, rollout.mask))) > 0.01


def test_an_ensembles_disagreement_is_logged(folders: Path) -> None:
    """Members that say 0 and the share of a word: their deviation is half the latter, their mean too."""
    judge = folders / "reward"
    judge.rename(folders / "member-0")
    judge.mkdir()
    (folders / "member-0").rename(judge / "member-0")
    silent = tiny.scorer(num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)
    with torch.no_grad():
        silent.score.weight.zero_()
    tiny.save(silent, judge / "member-1")
    EnsembleFile(("member-0", "member-1"), "mean", 0.5, adapters=False).write(judge)
    cast, config = cast_of(folders)
    rollout = rollout_of(cast, config)
    torch.testing.assert_close(rollout.disagreement, rollout.raw_scores.abs())
    metrics = update(cast, *learners(cast, config), rollout, config, torch.Generator().manual_seed(0))
    assert metrics["disagreement"] == pytest.approx(float(rollout.raw_scores.abs().mean()))
