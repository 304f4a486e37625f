"""One PPO update: advantages from a rollout, then a few passes of clipped policy and value steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from alignment.advantages import explained_variance, gae, kl_estimate, masked_mean, shaped_rewards, whiten
from alignment.batch import Rollout, by_length
from alignment.config import PPOConfig
from alignment.events import ErrorKind, StageError
from alignment.forward import Model, response_logprobs, response_values
from alignment.losses import policy_loss, value_loss
from alignment.roles import Roles, trained_weights


@dataclass(frozen=True)
class Learner:
    """An optimizer and its schedule over one model; the schedule moves once an update."""

    model: Model
    optimizer: AdamW
    schedule: LambdaLR
    max_grad_norm: float

    @classmethod
    def of(cls, model: Model, learning_rate: float, config: PPOConfig) -> Learner:
        """AdamW with epsilon 1e-5 (Huang et al. 2024, detail 5), warm-up, then linear decay."""
        weights = [weight for _, weight in trained_weights(model)]
        optimizer = AdamW(weights, lr=learning_rate, eps=1e-5, weight_decay=config.weight_decay)
        warmup = config.warmup_ratio * config.updates
        schedule = LambdaLR(optimizer, lambda update: learning_rate_factor(update, warmup, config.updates))
        return cls(model, optimizer, schedule, config.max_grad_norm)

    def step(self) -> float:
        """Clip, check, move; return the gradient's norm before clipping.

        Raises StageError(DIVERGED) for a gradient that is no number, before it reaches the weights.
        """
        norm = float(clip_grad_norm_(self.model.parameters(), self.max_grad_norm))
        if not math.isfinite(norm):
            raise StageError(
                ErrorKind.DIVERGED, f"The gradient norm became {norm}.", "Lower learning_rate or raise kl_coef."
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm


@dataclass(frozen=True)
class Targets:
    """What the losses aim at, fixed for all passes of an update."""

    advantages: Tensor  # (B, R)
    returns: Tensor  # (B, R)
    kl: Tensor  # (B,) k1 against the reference, summed over each response


def learning_rate_factor(update: int, warmup: float, updates: int) -> float:
    """Share of the peak rate for the update that comes after `update` finished ones."""
    rise = min(1.0, (update + 1) / warmup) if warmup >= 1 else 1.0
    return rise * max(0.0, 1.0 - update / updates)


def targets_of(rollout: Rollout, config: PPOConfig) -> Targets:
    """KL-shaped rewards, GAE, whitening over the whole batch."""
    mask = rollout.mask
    kl = kl_estimate(rollout.old_logprobs, rollout.ref_logprobs, "k1")
    rewards = shaped_rewards(rollout.scores, kl, mask, config.kl_coef)
    advantages, returns = gae(rewards, rollout.values, mask, config.gamma, config.gae_lambda)
    if config.whiten_advantages:
        advantages = whiten(advantages, mask)
    return Targets(advantages, returns, torch.where(mask, kl, 0.0).sum(dim=1))


def update(
    roles: Roles, policy: Learner, critic: Learner, rollout: Rollout, config: PPOConfig, generator: torch.Generator
) -> dict[str, float]:
    """Learn from one rollout; return what happened, averaged over the optimizer steps.

    Ends early once the approximate KL from the sampling policy passes `target_kl`.
    """
    targets = targets_of(rollout, config)
    steps: list[dict[str, float]] = []
    rate = policy.schedule.get_last_lr()[0]
    for rows in _mini_batches(len(rollout.sequences), config, generator):
        metrics = _accumulate(roles, rollout, targets, rows, config)
        if config.target_kl is not None and metrics["approx_kl"] > config.target_kl:
            for learner in (policy, critic):
                learner.optimizer.zero_grad(set_to_none=True)
            break
        metrics |= {"grad_norm": policy.step(), "critic_grad_norm": critic.step()}
        steps.append(metrics)
    policy.schedule.step()
    critic.schedule.step()
    means = {name: sum(step[name] for step in steps) / len(steps) for name in (steps[0] if steps else {})}
    counted = {"optimizer_steps": float(len(steps)), "learning_rate": float(rate)}
    return {**means, **counted, **_summary(rollout, targets, config)}


def _mini_batches(size: int, config: PPOConfig, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(config.inner_epochs):
        yield from torch.randperm(size, generator=generator).chunk(config.mini_batches)


def _accumulate(roles: Roles, rollout: Rollout, targets: Targets, rows: Tensor, config: PPOConfig) -> dict[str, float]:
    """Gradients of one optimizer step, micro-batch by micro-batch; return its losses and diagnostics.

    Every micro-batch divides by the tokens of the whole step: how it is cut changes nothing.
    """
    tokens = rollout.mask[rows].sum()
    totals: dict[str, float] = {}
    for part in by_length(rollout.sequences.lengths[rows], config.micro_batch_size):
        chosen = rows[part]
        sequences = rollout.sequences.select(chosen)
        mask = sequences.response_mask
        cut = slice(None, mask.shape[1])
        acted = policy_loss(
            response_logprobs(roles.policy, sequences, config.temperature),
            rollout.old_logprobs[chosen, cut],
            targets.advantages[chosen, cut],
            mask,
            config.clip_range,
            tokens,
        )
        acted.loss.backward()  # type: ignore[no-untyped-call]
        judged = value_loss(
            response_values(roles.critic, sequences),
            rollout.values[chosen, cut],
            targets.returns[chosen, cut],
            mask,
            config.value_clip_range,
            tokens,
        )
        (config.vf_coef * judged.loss).backward()  # type: ignore[no-untyped-call]
        for name, share in {
            "policy_loss": acted.loss,
            "value_loss": judged.loss,
            "approx_kl": acted.approx_kl,
            "clip_fraction": acted.clip_fraction,
            "value_clip_fraction": judged.clip_fraction,
            "ratio": acted.ratio,
        }.items():
            totals[name] = totals.get(name, 0.0) + share.item()
    return totals


def _summary(rollout: Rollout, targets: Targets, config: PPOConfig) -> dict[str, float]:
    """What the rollout itself says, before the update."""
    mask, kl = rollout.mask, float(targets.kl.mean())
    return {
        "score": float(rollout.scores.mean()),
        "reward": float(rollout.scores.mean()) - config.kl_coef * kl,
        "kl": kl,
        "entropy": float(-masked_mean(rollout.old_logprobs, mask)),
        "response_length": float(rollout.sequences.response_lengths.float().mean()),
        "finished_share": float(rollout.sequences.finished.float().mean()),
        "explained_variance": float(explained_variance(rollout.values, targets.returns, mask)),
    }
