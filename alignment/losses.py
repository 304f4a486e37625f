"""The three losses: clipped policy, clipped value, Bradley-Terry over all pairs of rankings.

Pure functions on tensors. Axes: B sequences, R response positions, M comparisons. Every mean takes
a `denominator`: what the whole optimizer step holds, so that micro-batches of unequal size add up
to the gradient of one large batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from alignment.advantages import kl_estimate, masked_mean


class PolicyLoss(NamedTuple):
    loss: Tensor  # scalar, with gradient
    clip_fraction: Tensor  # scalar: share of tokens for which the clipped branch was taken
    approx_kl: Tensor  # scalar: k3 of the new policy against the one that sampled
    ratio: Tensor  # scalar: mean of new / old probability


class ValueLoss(NamedTuple):
    loss: Tensor  # scalar, with gradient
    clip_fraction: Tensor  # scalar


class RankingLoss(NamedTuple):
    loss: Tensor  # scalar, with gradient
    accuracy: Tensor  # scalar: weighted share of comparisons that the scores order as the annotator did
    margin: Tensor  # scalar: weighted mean of better - worse


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip_range: float,
    denominator: Tensor | float | None = None,
) -> PolicyLoss:
    """PPO's clipped surrogate (Schulman et al. 2017, eq. 7), negated, over True tokens; all `(B, R)`."""
    ratio = torch.exp(torch.where(mask, logprobs - old_logprobs, 0.0))
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    with torch.no_grad():
        clip_fraction = masked_mean((clipped > plain).float(), mask, denominator)
        # Sampled from the old policy: k3 of (old || new) has the ratio's own exponential.
        approx_kl = masked_mean(kl_estimate(old_logprobs, logprobs, "k3"), mask, denominator)
        mean_ratio = masked_mean(ratio, mask, denominator)
    loss = masked_mean(torch.maximum(plain, clipped), mask, denominator)
    return PolicyLoss(loss, clip_fraction, approx_kl, mean_ratio)


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    clip_range: float,
    denominator: Tensor | float | None = None,
) -> ValueLoss:
    """Half the squared error, new values kept near the old ones, the worse of both; all `(B, R)`."""
    near = old_values + (values - old_values).clamp(-clip_range, clip_range)
    plain, clipped = (values - returns) ** 2, (near - returns) ** 2
    clip_fraction = masked_mean((clipped > plain).float(), mask, denominator).detach()
    return ValueLoss(0.5 * masked_mean(torch.maximum(plain, clipped), mask, denominator), clip_fraction)


def ranking_loss(
    scores: Tensor,
    better: Tensor,
    worse: Tensor,
    weights: Tensor,
    centering_coef: float = 0.0,
    denominator: Tensor | float | None = None,
) -> RankingLoss:
    """Bradley-Terry over all comparisons of rankings (Ouyang et al. 2022, eq. 1).

    scores `(B,)`; better, worse `(M,)` index into it; weights `(M,)` are 1 / (comparisons of that
    ranking) times the ranking's own weight, so that a ranking counts once whatever its K: the sum
    over a ranking's comparisons is its mean. `denominator` defaults to the sum of the weights.
    Centering (Eisenstein et al. 2023, eq. 2) pulls the mean score of a pair to 0. Computed in
    float32 whatever the scores' type: logsigmoid of a bf16 difference loses the near ties.
    """
    scores = scores.float()
    gap = scores[better] - scores[worse]
    each = -F.logsigmoid(gap) + centering_coef * (scores[better] + scores[worse]) ** 2
    scale = weights.sum().clamp(min=1e-12) if denominator is None else denominator
    accuracy = (weights * (gap > 0)).sum() / scale
    return RankingLoss((weights * each).sum() / scale, accuracy.detach(), (weights * gap).sum().detach() / scale)
