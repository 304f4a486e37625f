"""Which policy is kept: looks at held-out prompts, and the stated rule that chooses among them.

The rule sees the reward model and the KL only. Reward models are over-optimised (Gao et al. 2022):
their score keeps rising after quality has begun to fall, and the fall comes with KL. So a newer
policy, which has moved further, must be better by more than the noise of the look to be kept. Nor is
one kept that says the same whatever is asked: a weak reward model's favourite reply.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alignment import models
from alignment.advantages import kl_estimate
from alignment.batch import Sequences
from alignment.config import PPOConfig, RLOOConfig
from alignment.monitors import Bounds, Standing
from alignment.roles import Roles, policy_logprobs, reference_logprobs, reply, score, trained_weights
from alignment.scores import variety


@dataclass(frozen=True)
class Look:
    """What the policy did on the held-out prompts after `update` updates (0: the SFT policy)."""

    update: int
    sequences: Sequences  # B prompts, one response each
    scores: Tensor  # (B,) the reward model's
    kl: Tensor  # (B,) k1 against the reference, summed over each response
    kl_coef: float
    variety: float  # of the replies

    @property
    def objectives(self) -> Tensor:
        """What PPO maximises, for each prompt: `(B,)`."""
        return self.scores - self.kl_coef * self.kl

    def metrics(self) -> dict[str, float]:
        return {
            "heldout_score": float(self.scores.mean()),
            "heldout_kl": float(self.kl.mean()),
            "heldout_objective": float(self.objectives.mean()),
            "heldout_finished_share": float(self.sequences.finished.float().mean()),
            "heldout_response_length": float(self.sequences.response_lengths.float().mean()),
            "heldout_variety": self.variety,
        }


def look(roles: Roles, prompts: Sequence[list[int]], update: int, config: PPOConfig | RLOOConfig) -> Look:
    """Sample the policy on every prompt, with the same draws at every look."""
    generator = torch.Generator(roles.device).manual_seed(config.seed)
    sequences = reply(roles, prompts, config, generator).sequences
    kl = kl_estimate(policy_logprobs(roles, sequences, config), reference_logprobs(roles, sequences, config))
    return Look(
        update,
        sequences,
        score(roles, sequences, config).cpu(),
        kl.sum(dim=1).cpu(),
        config.kl_coef,
        variety(sequences, config.repetition_ngram),
    )


def gain_of(new: Look, old: Look) -> tuple[float, float]:
    """How much more `new` reaches than `old`, taken prompt by prompt, and the standard error of that."""
    gain = new.objectives - old.objectives
    return float(gain.mean()), float(gain.std()) / math.sqrt(len(gain)) if len(gain) > 1 else 0.0


def bounds_of(config: PPOConfig | RLOOConfig) -> Bounds:
    """Those of `rule`."""
    return Bounds(config.max_kl, config.min_variety)


def replaces(new: Look, kept: Look, sft: Look, bounds: Bounds) -> bool:
    """Whether the policy of `new` is kept from now on, in place of `kept`, by `rule`; `sft` is the first look."""
    within = float(new.kl.mean()) <= bounds.max_kl and new.variety >= bounds.min_variety * sft.variety
    gain, error = gain_of(new, kept)
    return within and gain > error


def standings(looks: Sequence[Look], bounds: Bounds) -> list[Standing]:
    """The looks as the monitors use them: each beside the best before it, the rule replayed."""
    found: list[Standing] = []
    best = kept = looks[0]
    for entry in looks:
        took = entry is kept or replaces(entry, kept, looks[0], bounds)
        kept = entry if took else kept
        gain, error = gain_of(entry, best)
        best = entry if gain > 0 else best
        found.append(Standing(entry.update, float(entry.objectives.mean()), -gain, error, took))
    return found


class Keeper:
    """Remembers looks, and the weights of the policy that the rule keeps by now."""

    def __init__(self, roles: Roles, bounds: Bounds) -> None:
        self.roles, self.bounds = roles, bounds
        self.looks: list[Look] = []
        self.kept: Look | None = None
        self.weights: dict[str, Tensor] = {}  # of the kept policy, those that are trained

    def add(self, entry: Look) -> Look:
        """Take in a look at the policy as it is now; keep that policy if it replaces the kept one."""
        self.looks.append(entry)
        if self.kept is None or replaces(entry, self.kept, self.looks[0], self.bounds):
            self.kept = entry
            self.weights = {name: weight.detach().cpu().clone() for name, weight in trained_weights(self.roles.policy)}
        return entry

    def save(self, out_dir: Path) -> Look:
        """Put the kept weights back into the policy, write it, and return its look."""
        assert self.kept is not None, "save comes after the first look"
        with torch.no_grad():
            for name, weight in trained_weights(self.roles.policy):
                weight.copy_(self.weights[name])
        models.save_model(self.roles.policy, self.roles.tokenizer, out_dir)
        return self.kept


def rule(config: PPOConfig | RLOOConfig, prompts: int) -> str:
    """The rule in words, for the report."""
    return (
        f"Every {config.evaluate_every} updates the policy answers {prompts} held-out prompts. Kept at first is the "
        f"SFT policy. A later policy takes its place if its mean KL to the SFT policy is at most {config.max_kl:g}, "
        f"its replies hold at least {config.min_variety:.0%} as many different n-grams as the SFT policy's, and its "
        f"mean of reward-model score - {config.kl_coef:g} * KL is higher by more than one standard error of the difference, "
        "taken prompt by prompt."
    )
