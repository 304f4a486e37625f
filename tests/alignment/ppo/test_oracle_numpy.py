"""Our numbers against a second PPO, written from the papers in numpy (oracle_numpy.py), to 1e-5 in fp32."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alignment.data.batch import Sequences
from alignment.maths.advantages import kl_estimate, shaped_rewards, whiten
from alignment.ppo.controllers import ScoreScaler
from alignment.ppo.learner import Learner
from alignment.ppo.roles import ActorCritic, record
from alignment.ppo.update import targets_of, update
from alignment.shared.config import PPOConfig
from tests.support.alignment import oracle_numpy

VOCABULARY, WIDTH, STOP, PAD = 9, 5, 2, 1
UPDATES, BATCH = 3, 6
COMMON = {
    "learning_rate": 2e-2,
    "batch_size": BATCH,
    "micro_batch_size": 2,
    "inner_epochs": 2,
    "mini_batches": 2,
    "updates": UPDATES,
    "warmup_ratio": 2 / 3,
    "weight_decay": 0.1,
    "max_grad_norm": 0.3,
    "max_length": 32,
    "max_response_length": 8,
    "kl_coef": 0.3,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-4,
}
CASES: dict[str, dict[str, Any]] = {
    "as published": {},
    "other estimator, rewards whitened, TRL's penalty, tempered": {
        "kl_estimator": "k3",
        "whiten_rewards": True,
        "missing_eos": "subtract",
        "missing_eos_penalty": 0.4,
        "temperature": 0.7,
        "gamma": 0.9,
        "gae_lambda": 0.8,
    },
    "KL as a loss, entropy bonus, free values, normalised scores": {
        "kl_in": "loss",
        "kl_estimator": "k2",
        "entropy_coef": 0.05,
        "clip_values": False,
        "vf_coef": 0.5,
        "score_normalisation": "running",  # a fixed scale below stands for it
    },
}


class OneLayer(nn.Module):
    """The oracle's model, with the doors that forward.py knocks at."""

    def __init__(self, weights: oracle_numpy.Weights) -> None:
        super().__init__()
        self.config = SimpleNamespace(score_mean=0.0, get_text_config=lambda: SimpleNamespace(model_type=""))
        for name, value in weights.items():
            setattr(self, name, nn.Parameter(torch.tensor(value, dtype=torch.float32)))

    def base_model(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=torch.tanh(self.embedding[input_ids] @ self.mix))

    @property
    def score(self) -> nn.Module:
        """A layer on the model's own weights, as forward.py asks for one."""
        layer = nn.Linear(*reversed(self.head.shape), bias=False)
        layer.weight = self.head
        return layer

    def get_output_embeddings(self) -> nn.Module:
        return self.score


def weights_of(seed: int, outputs: int) -> oracle_numpy.Weights:
    rng = np.random.default_rng(seed)
    shapes = {"embedding": (VOCABULARY, WIDTH), "mix": (WIDTH, WIDTH), "head": (outputs, WIDTH)}
    return {name: rng.normal(0, 0.8, shape).astype(np.float32).astype(np.float64) for name, shape in shapes.items()}


def cast() -> dict[str, oracle_numpy.Weights]:
    policy = weights_of(1, VOCABULARY)
    return {
        "policy": policy,
        "reference": {name: 0.75 * weights for name, weights in policy.items()},  # the KL is not 0 from the start
        "reward_model": weights_of(3, 1),
        "critic": weights_of(4, 1),
    }


def episodes_of(number: int) -> list[oracle_numpy.Episode]:
    rng, found = np.random.default_rng(100 + number), []
    for row in range(BATCH):
        prompt = rng.integers(3, VOCABULARY, rng.integers(1, 5)).tolist()
        response, finished = rng.integers(3, VOCABULARY, rng.integers(1, 7)).tolist(), row % 3 != 0
        found.append(oracle_numpy.Episode(prompt, [*response, STOP] if finished else response, finished))
    return found


def settings_of(config: PPOConfig, scaled: float) -> oracle_numpy.Settings:
    return oracle_numpy.Settings(
        learning_rate=config.learning_rate,
        updates=config.updates,
        warmup=config.warmup_ratio * config.updates,
        kl_coef=config.kl_coef,
        clip=config.clip_range,
        value_clip=config.value_clip_range if config.clip_values else None,
        vf_coef=config.vf_coef,
        entropy_coef=config.entropy_coef,
        gamma=config.gamma,
        lam=config.gae_lambda,
        temperature=config.temperature,
        max_norm=config.max_grad_norm,
        weight_decay=config.weight_decay,
        betas=(config.adam_beta1, config.adam_beta2),
        epsilon=config.adam_epsilon,
        estimator=config.kl_estimator,
        whiten_rewards=config.whiten_rewards,
        missing=config.missing_eos,
        missing_value=config.missing_eos_score if config.missing_eos == "replace" else config.missing_eos_penalty,
        score_std=scaled,
    )


def near(rows: list[Any], tensor: Tensor, mask: Tensor, name: str) -> None:
    gap = float((torch.tensor(np.concatenate(rows), dtype=torch.float32) - tensor[mask]).abs().max())
    assert gap <= 1e-5, f"{name} differs by {gap}"


@pytest.mark.parametrize("case", CASES)
def test_three_updates_agree(case: str) -> None:
    """Log-probs, values, scores, KL, rewards, returns, advantages of each rollout; both losses; all weights after."""
    config = PPOConfig.model_validate(COMMON | CASES[case])
    std = 1.7 if config.score_normalisation != "none" else 1.0
    theirs = oracle_numpy.Trainer(**cast(), settings=settings_of(config, std))
    models = {name: OneLayer(weights) for name, weights in cast().items()}
    roles = ActorCritic(tokenizer=SimpleNamespace(pad_token_id=PAD), scaler=ScoreScaler(std), **models)  # type: ignore[arg-type]
    policy, critic = (Learner.of(model, config.learning_rate, config) for model in (roles.policy, roles.critic))
    for number in range(UPDATES):
        episodes = episodes_of(number)
        prompts, responses = [e.prompt for e in episodes], [e.response for e in episodes]
        sequences = Sequences.join(prompts, responses, [e.finished for e in episodes], PAD)
        rollout, expected = record(roles, sequences, config), theirs.rollout(episodes)
        kl = kl_estimate(rollout.old_logprobs, rollout.ref_logprobs, "k1")
        priced = kl_estimate(rollout.old_logprobs, rollout.ref_logprobs, config.kl_estimator)
        coef = config.kl_coef if config.kl_in == "reward" else 0.0
        rewards = shaped_rewards(rollout.scores, priced, rollout.mask, coef)
        rewards = whiten(rewards, rollout.mask, keep_mean=True) if config.whiten_rewards else rewards
        targets = targets_of(rollout, config)
        for name, tensor in {
            "old_logprobs": rollout.old_logprobs,
            "ref_logprobs": rollout.ref_logprobs,
            "values": rollout.values,
            "kl": kl,
            "rewards": rewards,
            "returns": targets.returns,
            "advantages": targets.advantages,
        }.items():
            near(expected[name], tensor, rollout.mask, f"{name} of update {number}")
        near(expected["scores"], rollout.scores, torch.ones(BATCH, dtype=torch.bool), f"scores of update {number}")

        metrics = update(roles, policy, critic, rollout, config, torch.Generator().manual_seed(number))
        shuffling = torch.Generator().manual_seed(number)  # which rows meet in a step is given to both
        order = [torch.randperm(BATCH, generator=shuffling).tolist() for _ in range(config.inner_epochs)]
        before = len(theirs.losses)
        theirs.update(episodes, [half for rows in order for half in (rows[:3], rows[3:])], number)
        steps = theirs.losses[before:]
        assert metrics["policy_loss"] == pytest.approx(sum(a for a, _ in steps) / len(steps), abs=1e-5)
        assert metrics["value_loss"] == pytest.approx(sum(v for _, v in steps) / len(steps), abs=1e-5)
        assert math.isfinite(metrics["grad_norm"])
    for name, model in {"policy": roles.policy, "critic": roles.critic}.items():
        for key, weight in model.named_parameters():
            gap = float(np.abs(getattr(theirs, name)[key] - weight.detach().numpy()).max())
            assert gap <= 1e-5, f"{name} {key} differs by {gap}"
