"""An exponential moving average of a model's trained weights (Ouyang et al. 2022, C.4: decay 0.992).

The policy that samples and learns is the latest one; the average is what is evaluated, compared and kept
(unless `keep_ema` is off). A step too far in one update weighs 0.8 % in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from alignment.models.forward import Model
from alignment.ppo.roles import trained_weights


class WeightAverage:
    """Begins as the weights are; `follow` after each update."""

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
