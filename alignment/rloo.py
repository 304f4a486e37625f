"""RLOO, a baseline for PPO on the same parts: no critic, the other responses to a prompt are the baseline.

    python -m alignment rloo config.toml

Ahmadian et al. 2024 ("Back to Basics"): k responses a prompt; a response's return is its score less kl_coef times the
KL of the whole response; its advantage is that return less the mean of the k - 1 others. The response is one action, so
the ratio that is clipped is that of the whole response. With one inner epoch and one mini-batch it is REINFORCE.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from alignment import gate, models
from alignment.advantages import kl_estimate, leave_one_out
from alignment.batch import Rollout
from alignment.config import RLOOConfig
from alignment.events import Meter, Reporter, StageError, StageResult
from alignment.forward import response_logprobs
from alignment.losses import importance_weights, policy_loss
from alignment.micro_batches import accumulate
from alignment.outcome import check, rescued, result_of, show, tell, write_files
from alignment.ppo_update import Learner, check_ratio, means, mini_batches, shares_of, summary_of
from alignment.prompt_set import EndlessBatches, read_prompt_set
from alignment.roles import Roles, load_without_critic, record_without_critic, reply
from alignment.selection import Keeper, bounds_of, look, standings
from alignment.stages import PPOInputs
from alignment.steering import monitor_of


def train(config: RLOOConfig, inputs: PPOInputs, out_dir: Path, reporter: Reporter) -> StageResult:
    """Train the policy and leave the one that the rule keeps in `out_dir`; raises as ppo.train, never Paused."""
    decision = gate.enforce(inputs.reward_model, config.gate, config.accept_reward_model)
    torch.manual_seed(config.seed)
    roles = load_without_critic(config, inputs)
    prompts = read_prompt_set(roles, config, inputs.prompts, reporter)
    policy = Learner.of(roles.policy, config.learning_rate, config)
    sampling = torch.Generator(roles.device).manual_seed(config.seed)
    shuffling = torch.Generator().manual_seed(config.seed)
    batches = EndlessBatches(prompts.train, config.batch_size // config.responses_per_prompt, shuffling)
    keeper, monitor, curve = Keeper(roles, bounds_of(config)), monitor_of(config, inputs), list[dict[str, float]]()
    keeper.add(look(roles, prompts.heldout, 0, config))
    meter, stopped = Meter(reporter, "rloo", config.updates), None

    try:
        for number in range(1, config.updates + 1):
            if stopped := monitor.stops(standings(keeper.looks, monitor.bounds)):
                break
            # 1. The policy answers each prompt k times; neighbours in the batch answer the same one.
            asked = [ids for ids in next(batches) for _ in range(config.responses_per_prompt)]
            sequences, sampled = reply(roles, asked, config, sampling)
            rollout = record_without_critic(roles, sequences, config, sampled)
            # 2. Each response is judged against the others to its prompt.
            metrics = update(roles, policy, rollout, config, shuffling)
            check(metrics, number, config)
            # 3. Now and then the policy is looked at on held-out prompts, and kept if it is better.
            if number % config.evaluate_every == 0 or number == config.updates:
                entry = keeper.add(look(roles, prompts.heldout, number, config))
                metrics |= entry.metrics()
                tell(reporter, roles, prompts, config, [keeper.looks[0], entry])
            curve.append({"update": float(number), **metrics})
            reporter.samples(number, show(roles, rollout))
            for alarm in monitor.listen(curve, standings(keeper.looks, monitor.bounds)):
                reporter.note(alarm.sentence, level="warning")
            meter.step(metrics)
    except StageError as error:
        stopped = rescued(error, keeper)
    if stopped:
        reporter.note(stopped, level="warning")
    keeper.save(out_dir, models.saved_type(config.save_dtype, inputs.model))
    result = result_of("rloo", roles, prompts, config, keeper, curve, monitor.alarms, stopped, decision)
    write_files(out_dir, roles, prompts, keeper, result, reporter)
    return result


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

    def losses(part: Tensor) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        chosen = rows[part]
        sequences = rollout.sequences.select(chosen)
        mask = sequences.response_mask
        old = rollout.old_logprobs[chosen, : mask.shape[1]].sum(dim=1, keepdim=True)  # (b, 1): padding holds 0
        now = response_logprobs(roles.policy, sequences, config.temperature).sum(dim=1, keepdim=True)
        whole, weights = torch.ones_like(now, dtype=torch.bool), None
        if rollout.sampled_logprobs is not None and config.importance_cap:
            sampled = rollout.sampled_logprobs[chosen].sum(dim=1, keepdim=True)
            weights = importance_weights(old, sampled, whole, config.importance_cap)
        acted = policy_loss(now, old, advantages[chosen, None], whole, config.clip_range, float(len(rows)), weights)
        yield acted.loss, shares_of(acted)

    return accumulate([roles.policy], rollout.sequences.lengths[rows], config.micro_batch_size, losses)
