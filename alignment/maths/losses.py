"""The losses: clipped policy and clipped value of PPO; rankings and labels of the reward model.

Pure functions on tensors: a loss takes one named record and gives one. Axes: B sequences, R response
positions; N responses, M comparisons, V votes of K responses. Every mean takes a `denominator`: what the
whole optimizer step holds, so that micro-batches of unequal size add up to the gradient of one large batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from alignment.maths.advantages import KLEstimator, kl_estimate, masked_mean


@dataclass(frozen=True)
class PolicyTokens:
    """What the policy's loss is made of."""

    logprobs: Tensor  # (B, R) now, with gradient
    old_logprobs: Tensor  # (B, R) at sampling
    advantages: Tensor  # (B, R)
    mask: Tensor  # (B, R) True = counts
    weights: Tensor | None = None  # (B, R) `importance_weights`: of each token's part of the loss and of nothing else


@dataclass(frozen=True)
class ValueTokens:
    """What the critic's loss is made of."""

    values: Tensor  # (B, R) now, with gradient
    old_values: Tensor  # (B, R) at sampling
    returns: Tensor  # (B, R)
    mask: Tensor  # (B, R) True = counts


@dataclass(frozen=True)
class ComparedPairs:
    """The comparisons of rankings, each between two of N responses."""

    better: Tensor  # (M,) index into the scores
    worse: Tensor  # (M,) likewise
    weights: Tensor  # (M,) 1 / (comparisons of that ranking) times the ranking's own weight
    targets: Tensor | None = None  # (M,) probability that `better` wins: 1 unless it is a tie (1/2)
    margins: Tensor | None = None  # (M,) how far `better` must lead (Touvron et al. 2023, eq. 2)


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
    tokens: PolicyTokens,
    clip_range: float,
    clip_range_high: float | None = None,
    denominator: Tensor | float | None = None,
) -> PolicyLoss:
    """PPO's clipped surrogate (Schulman et al. 2017, eq. 7), negated, over True tokens.

    The ratio is clipped to [1 - clip_range, 1 + clip_range_high] (Yu et al. 2025, eq. 10); both are one if it is unset.
    """
    mask = tokens.mask
    ratio = torch.exp(torch.where(mask, tokens.logprobs - tokens.old_logprobs, 0.0))
    plain = -tokens.advantages * ratio
    clipped = -tokens.advantages * ratio.clamp(1.0 - clip_range, 1.0 + (clip_range_high or clip_range))
    with torch.no_grad():
        clip_fraction = masked_mean((clipped > plain).float(), mask, denominator)
        # Sampled from the old policy: k3 of (old || new) has the ratio's own exponential.
        approx_kl = masked_mean(kl_estimate(tokens.old_logprobs, tokens.logprobs, "k3"), mask, denominator)
        mean_ratio = masked_mean(ratio, mask, denominator)
    each = torch.maximum(plain, clipped)
    loss = masked_mean(each if tokens.weights is None else tokens.weights * each, mask, denominator)
    return PolicyLoss(loss, clip_fraction, approx_kl, mean_ratio)


def importance_weights(logprobs: Tensor, sampled_logprobs: Tensor, mask: Tensor, cap: float) -> Tensor:
    """min(pi / mu, cap): how much likelier an action is under pi than under the mu that drew it; 1 on padding.

    The truncated importance weight of Espeholt et al. 2018 (IMPALA, eq. 1), as Yao et al. 2025 ("Your efficient RL
    framework secretly brings you off-policy RL training") put it before PPO's clipped ratio: pi is the policy as the
    trainer computes it before the update, mu the same weights as the rollout engine computes them.
    """
    return torch.where(mask, logprobs - sampled_logprobs, 0.0).exp().clamp(max=cap)


def value_loss(tokens: ValueTokens, clip_range: float | None, denominator: Tensor | float | None = None) -> ValueLoss:
    """Half the squared error, new values kept near the old ones, the worse of both.

    Without a `clip_range` it is the plain squared error.
    """
    values, returns, mask = tokens.values, tokens.returns, tokens.mask
    if clip_range is None:
        plain = masked_mean((values - returns) ** 2, mask, denominator)
        return ValueLoss(0.5 * plain, torch.zeros_like(plain.detach()))
    near = tokens.old_values + (values - tokens.old_values).clamp(-clip_range, clip_range)
    plain, clipped = (values - returns) ** 2, (near - returns) ** 2
    clip_fraction = masked_mean((clipped > plain).float(), mask, denominator).detach()
    return ValueLoss(0.5 * masked_mean(torch.maximum(plain, clipped), mask, denominator), clip_fraction)


def kl_loss(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    mask: Tensor,
    estimator: KLEstimator,
    *,
    straight_through: bool = False,
    denominator: Tensor | float | None = None,
) -> Tensor:
    """The KL to the reference as a loss over True tokens: scalar; logprobs `(B, R)`.

    `straight_through`: the value of `estimator` with the gradient of k2. Averaged over the policy's own tokens,
    log(policy / reference) * grad log(policy) is the gradient of the KL; k1's own gradient averages to 0, and k3's
    is that of the KL from the reference to the policy.
    """
    value = kl_estimate(logprobs, ref_logprobs, estimator)
    if straight_through:
        right = kl_estimate(logprobs, ref_logprobs, "k2")
        value = right + (value - right).detach()
    return masked_mean(value, mask, denominator)


def ranking_loss(
    scores: Tensor,
    pairs: ComparedPairs,
    centering_coef: float = 0.0,
    denominator: Tensor | float | None = None,
) -> RankingLoss:
    """Bradley-Terry over all comparisons of rankings (Ouyang et al. 2022, eq. 1).

    scores `(N,)`. With the weights of the pairs a ranking counts once whatever its K: the sum over a
    ranking's comparisons is its mean. `denominator` defaults to the sum of the weights. Centering
    (Eisenstein et al. 2023, eq. 2) pulls the mean score of a pair to 0. Computed in float32 whatever the
    scores' type: logsigmoid of a bf16 difference loses the near ties.
    """
    scores, better, worse, weights = scores.float(), pairs.better, pairs.worse, pairs.weights
    gap = scores[better] - scores[worse]
    wins = torch.ones_like(gap) if pairs.targets is None else pairs.targets
    ahead = gap if pairs.margins is None else gap - pairs.margins
    each = F.binary_cross_entropy_with_logits(ahead, wins, reduction="none")
    each = each + centering_coef * (scores[better] + scores[worse]) ** 2
    scale = _scale(weights, denominator)
    right = torch.where(wins == 0.5, 0.5, (gap > 0).float())  # a tie can be neither right nor wrong
    accuracy = (weights * right).sum() / scale
    return RankingLoss((weights * each).sum() / scale, accuracy.detach(), (weights * gap).sum().detach() / scale)


def listwise_loss(
    scores: Tensor,
    ranks: Tensor,
    weights: Tensor,
    denominator: Tensor | float | None = None,
    *,
    soft_ties: bool = False,
) -> Tensor:
    """Plackett-Luce: the best is chosen from all, the next from the rest, and so on; scalar.

    scores, ranks `(V, K)`: one vote a row, rank 0 = best, -1 = no response; weights `(V,)`. A vote's
    loss is the mean over its choices, so that K = 2 is Bradley-Terry. It is Cox's partial likelihood, and
    so are its ties: `soft_ties` takes Efron's average over the orders of a tie (Efron 1977; for ranked data
    Allison & Christakis 1994, eq. 8); otherwise the tied do not compete with one another, each is
    chosen from itself and what is worse. Ties at the end say nothing without `soft_ties`.
    """
    scores = torch.where(ranks >= 0, scores.float(), 0.0)
    there = (ranks >= 0)[:, None, :]  # (V, 1, K)
    worse = (ranks[:, :, None] < ranks[:, None, :]) & there  # (V, K, K): j stands below i
    same = (ranks[:, :, None] == ranks[:, None, :]) & there
    itself = torch.eye(ranks.shape[1], dtype=torch.bool, device=ranks.device)
    if soft_ties:
        # The t-th of a tie of d is chosen when a share t/d of the tie has gone already.
        gone = same.tril(-1).sum(dim=2) / same.sum(dim=2).clamp(min=1)
        shares = worse + same * (1.0 - gone[:, :, None])
        chosen = (ranks >= 0) & ((worse | same).sum(dim=2) > 1)  # from more than itself
    else:
        shares = (worse | (same & itself)).float()
        chosen = (ranks >= 0) & worse.any(dim=2)
    logs = torch.where(shares > 0, shares, 1.0).log()
    logits = torch.where(shares > 0, scores[:, None, :] + logs, -torch.inf)
    each = torch.where(chosen, torch.where(chosen[:, :, None], logits, 0.0).logsumexp(dim=2) - scores, 0.0)
    means = each.sum(dim=1) / chosen.sum(dim=1).clamp(min=1)  # (V,)
    return (weights * means).sum() / _scale(weights, denominator)


def label_loss(
    scores: Tensor, rows: Tensor, targets: Tensor, weights: Tensor, denominator: Tensor | float | None = None
) -> Tensor:
    """Cross-entropy of sigmoid(score) as the probability that a response is acceptable; scalar.

    Comparisons say nothing about the level of the scores. Labels do: rows `(L,)` index into scores `(N,)`,
    targets `(L,)` lie in [0, 1]. All bad and a broken rule are 0 and so push a score below 0, where
    centering holds the mean of all; a rating r of 1..7 is (r - 1) / 6.
    """
    each = F.binary_cross_entropy_with_logits(scores.float()[rows], targets, reduction="none")
    return (weights * each).sum() / _scale(weights, denominator)


def _scale(weights: Tensor, denominator: Tensor | float | None) -> Tensor | float:
    return weights.sum().clamp(min=1e-12) if denominator is None else denominator
