"""Our numbers against those that TRL 1.12.0 made (oracle_trl112.py), to 1e-5 in fp32."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from alignment.data.batch import Sequences
from alignment.maths.advantages import gae, kl_estimate, shaped_rewards, whiten
from alignment.maths.losses import PolicyTokens, ValueTokens, policy_loss, value_loss
from alignment.ppo.controllers import ScoreScaler
from alignment.ppo.learner import Learner
from alignment.ppo.roles import ActorCritic, record
from alignment.ppo.update import targets_of, update
from alignment.shared.config import PPOConfig
from tests.support.alignment import oracle_trl112

EXPECTED = json.loads(Path(oracle_trl112.__file__).with_name("oracle_trl112.json").read_text())
GIVEN, SETTINGS = oracle_trl112.made_up(), oracle_trl112.SETTINGS
FULL = torch.ones(oracle_trl112.ROWS, oracle_trl112.WIDTH, dtype=torch.bool)


def near(actual: torch.Tensor, name: str) -> None:
    torch.testing.assert_close(actual, torch.tensor(EXPECTED[name], dtype=actual.dtype), atol=1e-6, rtol=1e-6)


def test_from_scores_to_whitened_advantages() -> None:
    kl = kl_estimate(GIVEN["logprobs"], GIVEN["ref_logprobs"])
    rewards = shaped_rewards(GIVEN["scores"], kl, FULL, SETTINGS["kl_coef"])
    advantages, returns = gae(rewards, GIVEN["values"], FULL, SETTINGS["gamma"], SETTINGS["lam"])
    near(rewards, "rewards")
    near(advantages, "advantages")
    near(returns, "returns")
    near(whiten(advantages, FULL), "whitened")


def test_both_losses_with_padding() -> None:
    mask = torch.arange(oracle_trl112.WIDTH) < GIVEN["lengths"][:, None]
    advantages = torch.tensor(EXPECTED["whitened"], dtype=torch.float64)
    returns = torch.tensor(EXPECTED["returns"], dtype=torch.float64)
    acted = policy_loss(PolicyTokens(GIVEN["new_logprobs"], GIVEN["logprobs"], advantages, mask), SETTINGS["cliprange"])
    judged = value_loss(ValueTokens(GIVEN["new_values"], GIVEN["values"], returns, mask), SETTINGS["cliprange_value"])
    near(acted.loss, "pg_loss")
    near(judged.loss, "vf_loss")
    near(acted.loss + SETTINGS["vf_coef"] * judged.loss, "loss")
    assert float(judged.clip_fraction) == pytest.approx(EXPECTED["vf_clipfrac"], abs=1e-6)


def ours() -> tuple[ActorCritic, PPOConfig]:
    models = oracle_trl112.cast()
    config = PPOConfig.model_validate(
        oracle_trl112.RUN
        | {
            "micro_batch_size": 8,
            "missing_eos": "subtract",
            "warmup_ratio": 0.0,
            "max_grad_norm": 1e9,
            "max_length": 32,
        }
        | {"max_response_length": oracle_trl112.RESPONSE}
    )
    tokenizer = SimpleNamespace(pad_token_id=oracle_trl112.PAD)
    return ActorCritic(tokenizer=tokenizer, scaler=ScoreScaler(), **models), config  # type: ignore[arg-type]


def sequences_of(update: dict[str, Any]) -> Sequences:
    """TRL's rows, padded on both sides, as ours: a response ends with its stop, or is as long as can be."""
    pad, eos = oracle_trl112.PAD, oracle_trl112.EOS
    prompts = [[i for i in row if i != pad] for row in update["queries"]]
    responses = [row[: row.index(eos) + 1] if eos in row else row for row in update["responses"]]
    return Sequences.join(prompts, responses, [eos in row for row in update["responses"]], pad)


def test_three_updates_of_trl_1_12s_own_trainer() -> None:
    """The same rollouts give the same log-probs, KL, scores, rewards, advantages, returns, losses and weights."""
    cast, config = ours()
    policy = Learner.of(cast.policy, config.learning_rate, config)
    critic = Learner.of(cast.critic, config.learning_rate, config)
    for number, expected in enumerate(EXPECTED["run"]["updates"], 1):
        rollout = record(cast, sequences_of(expected), config)
        assert not rollout.mask.all(), "some responses are shorter than others"
        targets = targets_of(rollout, config)
        kl = kl_estimate(rollout.old_logprobs, rollout.ref_logprobs)
        found = {
            "logprobs": rollout.old_logprobs,
            "ref_logprobs": rollout.ref_logprobs,
            "values": rollout.values,
            "kl": kl,
            "rewards": shaped_rewards(rollout.scores, kl, rollout.mask, config.kl_coef),
            "advantages": targets.advantages,
            "returns": targets.returns,
        }
        for name, tensor in found.items():
            gap = (tensor - torch.tensor(expected[name]))[rollout.mask].abs().max()
            assert gap <= 1e-5, f"{name} of update {number} differs by {gap}"
        torch.testing.assert_close(rollout.scores, torch.tensor(expected["scores"]), atol=1e-5, rtol=0)
        metrics = update(cast, policy, critic, rollout, config, torch.Generator().manual_seed(0))
        losses = torch.tensor(expected["losses"]).mean(dim=0)
        assert metrics["policy_loss"] == pytest.approx(float(losses[0]), abs=1e-5)
        assert metrics["value_loss"] == pytest.approx(float(losses[1]), abs=1e-5)
    for name, model in {"policy": cast.policy, "critic": cast.critic}.items():
        for key, weight in model.named_parameters():
            theirs = torch.tensor(EXPECTED["run"][name][key]).view(weight.shape)
            torch.testing.assert_close(weight.detach(), theirs, atol=1e-5, rtol=0, msg=lambda m, k=key: f"{k}: {m}")
