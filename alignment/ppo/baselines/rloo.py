"""RLOO, a baseline for PPO on the same parts: no critic, the other responses to a prompt are the baseline.

    python -m alignment rloo config.toml

Ahmadian et al. 2024 ("Back to Basics"): k responses a prompt; a response's return is its score less kl_coef times the
KL of the whole response; its advantage is that return less the mean of the k - 1 others. The response is one action, so
the ratio that is clipped is that of the whole response. With one inner epoch and one mini-batch it is REINFORCE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from alignment.data.batch import Rollout, Sequences
from alignment.maths.advantages import kl_estimate, leave_one_out
from alignment.maths.losses import PolicyTokens, importance_weights, policy_loss
from alignment.models.forward import response_logprobs
from alignment.models.micro_batches import Loss, accumulate
from alignment.ppo import loop as ppo_loop
from alignment.ppo.adaptation import Adaptation
from alignment.ppo.learner import Learner
from alignment.ppo.roles import Roles, load_without_critic, record_without_critic
from alignment.ppo.update import check_ratio, means, mini_batches, shares_of, summary_of
from alignment.shared.config import Baseline, RLOOConfig
from alignment.shared.events import Reporter, StageResult
from alignment.shared.stages import PPOInputs
from alignment.training.team import Team


def train(config: RLOOConfig, inputs: PPOInputs, out_dir: Path, reporter: Reporter) -> StageResult:
    """Leave the policy that the rule keeps in `out_dir`; raises as `ppo.loop.train`."""
    return ppo_loop.train(Baseline.RLOO, RLOO.start, config, inputs, out_dir, reporter)


@dataclass(frozen=True)
class RLOO:
    """Judges each response against the others to its prompt (a ppo_loop.Method)."""

    roles: Roles
    config: RLOOConfig
    learners: Mapping[str, Learner]
    adaptation: Adaptation

    @classmethod
    def start(cls, config: RLOOConfig, inputs: PPOInputs, reporter: Reporter, team: Team) -> RLOO:
        roles = load_without_critic(config, inputs, team)
        learners = {"policy": Learner.of(roles.policy, config.learning_rate, config, 0, team)}
        return cls(roles, config, learners, Adaptation.of(roles, config, inputs, reporter))

    @property
    def replies(self) -> int:
        return self.config.responses_per_prompt

    def record(self, sequences: Sequences, sampled_logprobs: Tensor) -> Rollout:
        """Without values."""
        return record_without_critic(self.roles, sequences, self.config, sampled_logprobs)

    def update(self, rollout: Rollout, shuffling: torch.Generator) -> dict[str, float]:
        """One pass over the responses, or a few clipped ones."""
        return update(self.roles, self.learners["policy"], rollout, self.config, shuffling)


def advantages_of(rollout: Rollout, config: RLOOConfig) -> tuple[Tensor, Tensor]:
    """Each response's advantage, and its KL to the reference (k1, summed): both `(B,)`."""
    kl = kl_estimate(rollout.old_logprobs, rollout.ref_logprobs)
    summed = torch.where(rollout.mask, kl, 0.0).sum(dim=1)
    returns = rollout.scores - config.kl_coef * summed
    return leave_one_out(returns, config.responses_per_prompt), summed


def update(
    roles: Roles, policy: Learner, rollout: Rollout, config: RLOOConfig, generator: torch.Generator
) -> dict[str, float]:
    """Learn from one rollout; return what happened, averaged over the optimizer steps."""
    advantages, kl = advantages_of(rollout, config)
    steps: list[dict[str, float]] = []
    rate = policy.schedule.get_last_lr()[0]
    for rows in mini_batches(len(rollout.sequences), config, generator):
        metrics = _accumulate(roles, rollout, advantages, rows, config)
        check_ratio(metrics["ratio"], config)
        if config.target_kl is not None and metrics["approx_kl"] > config.target_kl:
            policy.optimizer.zero_grad(set_to_none=True)
            break
        steps.append(metrics | {"grad_norm": policy.step()})
    policy.schedule.step()
    counted = {"optimizer_steps": float(len(steps)), "learning_rate": float(rate)}
    return {**means(steps), **counted, **summary_of(rollout, kl, config.repetition_ngram, config.kl_coef)}


def _accumulate(
    roles: Roles, rollout: Rollout, advantages: Tensor, rows: Tensor, config: RLOOConfig
) -> dict[str, float]:
    """Gradients of one optimizer step; every micro-batch divides by the responses of the whole step."""

    share = roles.team.share(rollout.sequences.lengths[rows])
    mine, counts = rows[share.rows], share.counts.to(rollout.mask.device)

    def loss_of(part: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = mine[part]
        sequences = rollout.sequences.select(chosen)
        mask = sequences.response_mask
        old = rollout.old_logprobs[chosen, : mask.shape[1]].sum(dim=1, keepdim=True)  # (b, 1): padding holds 0
        now = response_logprobs(roles.policy, sequences, config.temperature).sum(dim=1, keepdim=True)
        whole, weights = counts[part, None], None
        if rollout.sampled_logprobs is not None and config.importance_cap:
            sampled = rollout.sampled_logprobs[chosen].sum(dim=1, keepdim=True)
            weights = importance_weights(old, sampled, whole, config.importance_cap)
        tokens = PolicyTokens(now, old, advantages[chosen, None], whole, weights)  # one for each response
        acted = policy_loss(tokens, config.clip_range, config.clip_range_high, float(len(rows)))
        return acted.loss, shares_of(acted)

    def losses(part: Tensor) -> Sequence[Loss]:
        return [partial(loss_of, part)]

    lengths = rollout.sequences.lengths[mine]
    return roles.team.sum_metrics(accumulate([roles.policy], lengths, config.micro_batch_size, losses, roles.lanes))
