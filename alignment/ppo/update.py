"""One PPO update: advantages from a rollout, then a few passes of clipped policy and value steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from alignment.data.batch import Rollout, Sequences
from alignment.maths.advantages import (
    explained_variance,
    gae,
    kl_estimate,
    less_the_others,
    masked_mean,
    shaped_rewards,
    whiten,
)
from alignment.maths.losses import (
    PolicyLoss,
    PolicyTokens,
    ValueTokens,
    importance_weights,
    kl_loss,
    policy_loss,
    value_loss,
)
from alignment.models.forward import Model, response_logprobs, response_terms, response_values
from alignment.models.micro_batches import Loss, accumulate
from alignment.ppo.learner import Learner
from alignment.ppo.ptx import PretrainingMix
from alignment.ppo.roles import ActorCritic
from alignment.ppo.score_shaping import repeated_share
from alignment.shared.config import PPOConfig, RLOOConfig
from alignment.shared.errors import Diverged
from alignment.shared.sentence import Sentence


@dataclass(frozen=True)
class Targets:
    """What the losses aim at, fixed for all passes of an update."""

    advantages: Tensor  # (B, R)
    returns: Tensor  # (B, R)
    kl: Tensor  # (B,) k1 against the reference, summed over each response
    weights: Tensor  # (B, R) of each token in the policy loss


def targets_of(rollout: Rollout, config: PPOConfig, kl_coef: float | None = None) -> Targets:
    """KL-shaped rewards, GAE, the group's baseline, whitening over the batch; `kl_coef` is the controller's, if any."""
    mask, coef = rollout.mask, config.kl_coef if kl_coef is None else kl_coef
    priced = kl_estimate(rollout.old_logprobs, rollout.ref_logprobs, config.kl_estimator)
    rewards = shaped_rewards(rollout.scores, priced, mask, coef if config.kl_in == "reward" else 0.0)
    if config.whiten_rewards:
        rewards = whiten(rewards, mask, keep_mean=True)
    advantages, returns = gae(rewards, rollout.values, mask, config.gamma, config.gae_lambda)
    if config.group_baseline:
        advantages = less_the_others(advantages, mask, config.responses_per_prompt)
    if config.whiten_advantages:
        advantages = whiten(advantages, mask)
    kl = kl_estimate(rollout.old_logprobs, rollout.ref_logprobs, "k1")
    return Targets(advantages, returns, torch.where(mask, kl, 0.0).sum(dim=1), _weights(rollout, config))


def _weights(rollout: Rollout, config: PPOConfig) -> Tensor:
    """1, but for what the rollout engine's arithmetic and ours say differently."""
    if rollout.sampled_logprobs is None or config.importance_cap is None:
        return torch.ones_like(rollout.old_logprobs)
    return importance_weights(rollout.old_logprobs, rollout.sampled_logprobs, rollout.mask, config.importance_cap)


def update(
    roles: ActorCritic,
    policy: Learner,
    critic: Learner,
    rollout: Rollout,
    config: PPOConfig,
    generator: torch.Generator,
    *,
    kl_coef: float | None = None,
    pretraining: PretrainingMix | None = None,
) -> dict[str, float]:
    """Learn from one rollout; return what happened, averaged over the optimizer steps.

    Ends early once the approximate KL from the sampling policy passes `target_kl`. Raises Diverged
    before a step that `max_ratio` forbids.
    """
    coef = config.kl_coef if kl_coef is None else kl_coef
    targets = targets_of(rollout, config, coef)
    steps: list[dict[str, float]] = []
    rate = policy.schedule.get_last_lr()[0]
    warming = critic.schedule.last_epoch < config.critic_warmup  # finished updates
    for rows in mini_batches(len(rollout.sequences), config, generator):
        metrics = _accumulate(roles, rollout, targets, rows, config, coef, only_critic=warming)
        if warming:
            steps.append(metrics | {"critic_grad_norm": critic.step()})
            continue
        check_ratio(metrics["ratio"], config)
        if config.target_kl is not None and metrics["approx_kl"] > config.target_kl:
            for learner in (policy, critic):
                learner.optimizer.zero_grad(set_to_none=True)
            break
        if pretraining is not None:
            metrics["ptx_loss"] = pretraining.accumulate(config.ptx_coef)
        metrics |= {"grad_norm": policy.step(), "critic_grad_norm": critic.step()}
        steps.append(metrics)
    for learner in (critic,) if warming else (policy, critic):
        learner.schedule.step()
    counted = {"optimizer_steps": float(len(steps)), "learning_rate": float(rate), "kl_coef": coef}
    return {**means(steps), **counted, **_summary(rollout, targets, config, coef)}


def means(steps: list[dict[str, float]]) -> dict[str, float]:
    """Each metric's mean over the optimizer steps of an update; none without a step."""
    return {name: sum(step[name] for step in steps) / len(steps) for name in (steps[0] if steps else {})}


def check_ratio(ratio: float, config: PPOConfig | RLOOConfig) -> None:
    """Diverged for a mean ratio that no clipping can mend: the step that it asks for is not taken."""
    if not 1.0 / config.max_ratio <= ratio <= config.max_ratio:  # NaN too
        raise Diverged(
            Sentence(
                "ratio-too-large",
                "The mean ratio of new to old probabilities became %(ratio)s within one update, max_ratio is "
                "%(max_ratio)s.",
                ratio=f"{ratio:.3g}",
                max_ratio=f"{config.max_ratio:g}",
            ),
            Sentence("lower-rate-or-epochs", "Lower learning_rate or inner_epochs, or set target_kl."),
        )


def mini_batches(size: int, config: PPOConfig | RLOOConfig, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers of each optimizer step of an update."""
    for _ in range(config.inner_epochs):
        yield from torch.randperm(size, generator=generator).chunk(config.mini_batches)


def _accumulate(
    roles: ActorCritic,
    rollout: Rollout,
    targets: Targets,
    rows: Tensor,
    config: PPOConfig,
    kl_coef: float,
    *,
    only_critic: bool = False,
) -> dict[str, float]:
    """Gradients of one optimizer step, micro-batch by micro-batch; return its losses and diagnostics.

    Every micro-batch divides by the tokens of the whole step: how it is cut, and among how many processes, changes
    nothing.
    """
    tokens = rollout.mask[rows].sum()
    share = roles.team.share(rollout.sequences.lengths[rows])
    mine, counts = rows[share.rows], share.counts.to(rollout.mask.device)

    def losses(part: Tensor) -> Sequence[Loss]:
        batch = MicroBatch.of(rollout, targets, mine[part], counts[part], tokens)
        judge = partial(_judge, roles.critic, batch, config)
        return [judge] if only_critic else [partial(_act, roles.policy, batch, config, kl_coef), judge]

    trained = [roles.critic] if only_critic else [roles.policy, roles.critic]
    lengths = rollout.sequences.lengths[mine]
    return roles.team.sum_metrics(accumulate(trained, lengths, config.micro_batch_size, losses, roles.lanes))


@dataclass(frozen=True)
class MicroBatch:
    """What one pass over some rows of a rollout needs, without the padding that only other rows needed."""

    sequences: Sequences
    mask: Tensor  # (B, R) True = counts
    old_logprobs: Tensor  # (B, R)
    ref_logprobs: Tensor  # (B, R)
    advantages: Tensor  # (B, R)
    weights: Tensor  # (B, R) `importance_weights`
    old_values: Tensor  # (B, R)
    returns: Tensor  # (B, R)
    tokens: Tensor  # scalar: those that count in the whole optimizer step

    @classmethod
    def of(cls, rollout: Rollout, targets: Targets, rows: Tensor, counts: Tensor, tokens: Tensor) -> MicroBatch:
        """`counts` `(B,)`: False for a row that only keeps another process company."""
        sequences = rollout.sequences.select(rows)
        mask = sequences.response_mask & counts[:, None]

        def cut(whole: Tensor) -> Tensor:
            return whole[rows, : mask.shape[1]]

        return cls(
            sequences,
            mask,
            cut(rollout.old_logprobs),
            cut(rollout.ref_logprobs),
            cut(targets.advantages),
            cut(targets.weights),
            cut(rollout.values),
            cut(targets.returns),
            tokens,
        )


def _act(policy: Model, batch: MicroBatch, config: PPOConfig, kl_coef: float) -> tuple[Tensor, dict[str, Tensor]]:
    """The policy's loss on one micro-batch, and its shares of the step's metrics."""
    extra: dict[str, Tensor] = {}
    if config.entropy_coef:
        logprobs, entropies = response_terms(policy, batch.sequences, config.temperature)
        extra["policy_entropy"] = masked_mean(entropies, batch.mask, batch.tokens)
    else:
        logprobs = response_logprobs(policy, batch.sequences, config.temperature)
    tokens = PolicyTokens(logprobs, batch.old_logprobs, batch.advantages, batch.mask, batch.weights)
    acted = policy_loss(tokens, config.clip_range, config.clip_range_high, batch.tokens)
    loss = acted.loss
    if config.entropy_coef:
        loss = loss - config.entropy_coef * extra["policy_entropy"]
    if config.kl_in == "loss":
        extra["kl_loss"] = kl_loss(
            logprobs,
            batch.ref_logprobs,
            batch.mask,
            config.kl_estimator,
            straight_through=config.kl_straight_through,
            denominator=batch.tokens,
        )
        loss = loss + kl_coef * extra["kl_loss"]
    return loss, shares_of(acted) | extra


def shares_of(acted: PolicyLoss) -> dict[str, Tensor]:
    """A micro-batch's shares of the policy's metrics."""
    return {
        "policy_loss": acted.loss,
        "approx_kl": acted.approx_kl,
        "clip_fraction": acted.clip_fraction,
        "ratio": acted.ratio,
    }


def _judge(critic: Model, batch: MicroBatch, config: PPOConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """The critic's loss on one micro-batch, and its shares of the step's metrics."""
    tokens = ValueTokens(response_values(critic, batch.sequences), batch.old_values, batch.returns, batch.mask)
    judged = value_loss(tokens, config.value_clip_range if config.clip_values else None, batch.tokens)
    return config.vf_coef * judged.loss, {"value_loss": judged.loss, "value_clip_fraction": judged.clip_fraction}


def _summary(rollout: Rollout, targets: Targets, config: PPOConfig, kl_coef: float) -> dict[str, float]:
    """What the rollout itself says, before the update."""
    said = summary_of(rollout, targets.kl, config.repetition_ngram, kl_coef)
    return {**said, "explained_variance": float(explained_variance(rollout.values, targets.returns, rollout.mask))}


def summary_of(rollout: Rollout, kl: Tensor, ngram: int, kl_coef: float) -> dict[str, float]:
    """Scores, KL `(B,)` and form of the responses that a rollout holds."""
    sequences, mean_kl = rollout.sequences, float(kl.mean())
    said = {
        "score": float(rollout.scores.mean()),
        "raw_score": float(rollout.raw_scores.mean()),
        "reward": float(rollout.scores.mean()) - kl_coef * mean_kl,
        "kl": mean_kl,
        "entropy": float(-masked_mean(rollout.old_logprobs, rollout.mask)),
        "response_length": float(sequences.response_lengths.float().mean()),
        "finished_share": float(sequences.finished.float().mean()),
        "repeated_share": float(repeated_share(sequences, ngram).mean()),
    }
    if rollout.disagreement is not None:
        said["disagreement"] = float(rollout.disagreement.mean())
    return said | _engine_gap(rollout)


def _engine_gap(rollout: Rollout) -> dict[str, float]:
    """How far the engine's log-probabilities of what it drew are from our own forward pass's."""
    if rollout.sampled_logprobs is None:
        return {}
    gap = (rollout.old_logprobs - rollout.sampled_logprobs)[rollout.mask].abs()
    return {"engine_gap": float(gap.mean()), "engine_gap_max": float(gap.max())}
