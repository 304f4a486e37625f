"""What one batch of rankings costs: the configured losses of its scores."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from alignment.maths.losses import ComparedPairs, label_loss, listwise_loss, ranking_loss
from alignment.reward.batch import RankingBatch
from alignment.shared.config import RewardConfig


class StepLoss(NamedTuple):
    """What one batch of rankings costs, and what a log shows of it."""

    loss: Tensor  # scalar, with gradient
    accuracy: Tensor  # scalar
    margin: Tensor  # scalar


def batch_loss(scores: Tensor, batch: RankingBatch, config: RewardConfig, denominator: Tensor | float) -> StepLoss:
    """The configured losses of N scores; `denominator` is the weight of all examples of the optimizer step."""
    compared = ComparedPairs(batch.better, batch.worse, batch.weights, batch.targets, batch.margins)
    pairs = ranking_loss(scores, compared, config.centering_coef, denominator)
    loss = pairs.loss
    if config.loss == "plackett_luce":
        soft = config.ties == "soft"
        loss = listwise_loss(scores[batch.members], batch.ranks, batch.vote_weights, denominator, soft_ties=soft)
        both = (scores[batch.better] + scores[batch.worse]) ** 2
        loss = loss + config.centering_coef * (batch.weights * both).sum() / denominator
    loss = loss + label_loss(scores, batch.label_rows, batch.label_targets, batch.label_weights, denominator)
    return StepLoss(loss, pairs.accuracy, pairs.margin)
