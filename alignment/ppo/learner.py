"""What moves a model's weights: AdamW, its schedule, the gradients of all processes in one step; and their average."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from alignment.models.forward import Model
from alignment.ppo.roles import trained_weights
from alignment.shared.config import PPOConfig, RLOOConfig
from alignment.shared.errors import Diverged
from alignment.shared.sentence import Sentence
from alignment.training.shards import gathered
from alignment.training.team import ALONE, Team


@dataclass(frozen=True)
class Learner:
    """An optimizer and its schedule over one model; the schedule moves once an update."""

    model: Model
    optimizer: AdamW
    schedule: LambdaLR
    max_grad_norm: float
    team: Team = ALONE

    @classmethod
    def of(
        cls,
        model: Model,
        learning_rate: float,
        config: PPOConfig | RLOOConfig,
        idle: int = 0,
        team: Team = ALONE,
    ) -> Learner:
        """AdamW as PyTorch has it, which adds epsilon to the corrected root: TensorFlow, where the first RLHF was
        written, adds it before the correction, as if it were larger early (Huang et al. 2024). After `idle` updates."""
        weights = [weight for _, weight in trained_weights(model)]
        betas = (config.adam_beta1, config.adam_beta2)
        optimizer = AdamW(
            weights,
            lr=learning_rate,
            betas=betas,
            eps=config.adam_epsilon,
            weight_decay=config.weight_decay,
            fused=True,
        )
        total, rise = config.updates - idle, config.warmup_ratio * (config.updates - idle)
        schedule = LambdaLR(optimizer, lambda update: learning_rate_factor(update, rise, total, config.schedule))
        return cls(model, optimizer, schedule, config.max_grad_norm, team)

    def step(self) -> float:
        """Sum over the processes, clip, check, move; return the gradient's norm before clipping.

        Raises Diverged for a gradient that is no number, before it reaches the weights.
        """
        self.team.sum_gradients(self.model)
        norm = float(gathered(clip_grad_norm_(self.model.parameters(), self.max_grad_norm)))
        if not math.isfinite(norm):
            raise Diverged(
                Sentence("gradient-diverged", "The gradient norm became %(norm)s.", norm=norm),
                Sentence("lower-rate-or-raise-kl", "Lower learning_rate or raise kl_coef."),
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm


def learning_rate_factor(update: int, warmup: float, updates: int, schedule: str = "linear") -> float:
    """Share of the peak rate for the update that comes after `update` finished ones."""
    rise = min(1.0, (update + 1) / warmup) if warmup >= 1 else 1.0
    left = max(0.0, 1.0 - update / updates)
    fall = {"linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left), "constant": 1.0}[schedule]
    return rise * fall


class WeightAverage:
    """An exponential moving average of a model's trained weights (Ouyang et al. 2022, C.4: decay 0.992).

    The policy that samples and learns is the latest one; the average is what is evaluated, compared and kept
    (unless `keep_ema` is off). A step too far in one update weighs 0.8 % in it. Begins as the weights are; `follow`
    after each update.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.model, self.decay = model, decay
        self.weights: dict[str, Tensor] = {name: weight.detach().clone() for name, weight in trained_weights(model)}

    @torch.no_grad()
    def follow(self) -> None:
        """average <- decay * average + (1 - decay) * weights."""
        for name, weight in trained_weights(self.model):
            self.weights[name].lerp_(weight, 1.0 - self.decay)

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put back what a checkpoint holds."""
        for name, average in self.weights.items():
            average.copy_(weights[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside the context, and its own again after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, weight in trained_weights(self.model):
            own = weight.detach().clone()
            weight.copy_(self.weights[name])
            self.weights[name] = own
