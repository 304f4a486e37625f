"""Our advantages and losses against numbers that TRL 1.12.0's own lines made (oracle_trl112.py)."""

import json
from pathlib import Path

import oracle_trl112
import pytest
import torch

from alignment.advantages import gae, kl_estimate, shaped_rewards, whiten
from alignment.losses import policy_loss, value_loss

EXPECTED = json.loads((Path(__file__).parent / "oracle_trl112.json").read_text())
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
    acted = policy_loss(GIVEN["new_logprobs"], GIVEN["logprobs"], advantages, mask, SETTINGS["cliprange"])
    judged = value_loss(GIVEN["new_values"], GIVEN["values"], returns, mask, SETTINGS["cliprange_value"])
    near(acted.loss, "pg_loss")
    near(judged.loss, "vf_loss")
    near(acted.loss + SETTINGS["vf_coef"] * judged.loss, "loss")
    assert float(judged.clip_fraction) == pytest.approx(EXPECTED["vf_clipfrac"], abs=1e-6)
