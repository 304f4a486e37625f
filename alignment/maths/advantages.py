"""From scores to advantages: masked statistics, KL estimates, per-token rewards, GAE, whitening.

Pure functions on tensors. Axes: B sequences, R response positions. `mask` is True where a token
counts; padding may stand on either side and in any amount without changing a result.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]


def masked_mean(x: Tensor, mask: Tensor, denominator: Tensor | float | None = None) -> Tensor:
    """Mean of `x` where `mask` is True: scalar.

    With `denominator`, the sum is divided by that instead of by the number of True entries: the
    shares of several micro-batches then add up to the mean over all of them.
    """
    total = torch.where(mask, x, 0.0).sum()
    return total / (mask.sum().clamp(min=1) if denominator is None else denominator)


def masked_var(x: Tensor, mask: Tensor) -> Tensor:
    """Unbiased variance of `x` where `mask` is True: scalar, 0 for fewer than two entries."""
    count = mask.sum()
    squares = torch.where(mask, (x - masked_mean(x, mask)) ** 2, 0.0).sum()
    return squares / (count - 1).clamp(min=1)


def whiten(x: Tensor, mask: Tensor, *, keep_mean: bool = False) -> Tensor:
    """`x` shifted to mean 0 and scaled to variance 1 over the True entries; 0 elsewhere: same shape.

    Call it on the whole batch of an update: whitening each micro-batch apart (as TRL 1.12 does for
    each process) makes the gradient depend on how the batch was cut. With `keep_mean` the mean stays as it
    was: a shift would pay for length or against it (rewards; Ziegler et al. 2019, released code).
    """
    mean = masked_mean(x, mask)
    centred = (x - mean) * torch.rsqrt(masked_var(x, mask) + 1e-8)
    return torch.where(mask, centred + mean if keep_mean else centred, 0.0)


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, estimator: KLEstimator = "k1") -> Tensor:
    """Per-token estimate of KL(policy || reference) from tokens that the policy sampled: `(B, R)`.

    Schulman 2020, "Approximating KL divergence". k1 is unbiased and may be negative: the one to put
    into rewards, whose policy gradient is then that of the KL; under k3 it lacks the gradient of the KL
    from the reference, under k2 it is another one altogether. k2 has low variance and the right gradient as
    a loss. k3 is unbiased and never negative; its log-ratio is clamped because exp overflows.
    """
    log_ratio = logprobs - ref_logprobs
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return 0.5 * log_ratio**2
    reverse = (-log_ratio).clamp(-20.0, 20.0)
    return reverse.exp() - 1.0 - reverse


def shaped_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """`-kl_coef * kl` on each response token, plus the score on the last one: `(B, R)`.

    scores `(B,)`, kl and mask `(B, R)`. Huang et al. 2024 (and TRL 1.12) put the score one position
    past the last token; here it lands on the token that ended the response, whose successor has
    value 0. Raises ValueError for a response without tokens.
    """
    if not mask.any(dim=1).all():
        raise ValueError(f"response {int((~mask.any(dim=1)).nonzero()[0])} has no token on which its score could land")
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, positions, -1).argmax(dim=1, keepdim=True)  # (B, 1)
    rewards = torch.where(mask, -kl_coef * kl, 0.0)
    return rewards.scatter_add(1, last, scores.unsqueeze(1).to(rewards.dtype))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns by generalized advantage estimation (Schulman et al. 2015), each `(B, R)`.

    `values[:, t]` is the value of the state in which token t is chosen. The state after the last
    token is terminal and has value 0, also for a response that was cut off: its score says so.
    """
    values = torch.where(mask, values, 0.0)
    advantages = torch.zeros_like(values)
    next_value = next_advantage = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        # Padding passes on what came after it, so that right padding starts from 0 and left padding ends in 0.
        advantages[:, t] = torch.where(mask[:, t], delta + gamma * gae_lambda * next_advantage, 0.0)
        next_value = torch.where(mask[:, t], values[:, t], next_value)
        next_advantage = torch.where(mask[:, t], advantages[:, t], next_advantage)
    return advantages, torch.where(mask, advantages + values, 0.0)


def less_the_others(advantages: Tensor, mask: Tensor, k: int) -> Tensor:
    """Advantages `(B, R)`, each row less the mean of what the critic missed on the k - 1 others to the same prompt.

    The k rows stand side by side. A row's first advantage is its return less the critic's value of the prompt, the
    same for all k; their mean over the others depends on nothing that the row itself did, so the gradient stays
    unbiased (Kool et al. 2019). With a critic that gives every token the prompt's value it is RLOO.
    """
    missed = advantages[:, 0] * mask[:, 0]
    others = missed - leave_one_out(missed, k)
    return torch.where(mask, advantages - others[:, None], 0.0)


def leave_one_out(returns: Tensor, k: int) -> Tensor:
    """Each return less the mean of the k - 1 others to the same prompt, which are its neighbours: `(B,)`.

    Kool et al. 2019; Ahmadian et al. 2024, eq. 7.
    """
    groups = returns.view(-1, k)
    return (groups - (groups.sum(dim=1, keepdim=True) - groups) / (k - 1)).flatten()


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns) over the True entries: scalar; 1 is a perfect critic.

    0 when the returns do not vary: there is nothing to explain.
    """
    total = masked_var(returns, mask)
    return torch.where(total > 0, 1.0 - masked_var(returns - values, mask) / total.clamp(min=1e-12), 0.0)
