"""Frozen models whose weights wait in the host's memory, and are on the device while they are asked.

A rollout asks only the policy, an update policy and critic: meanwhile the GPU has room for what these need.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from alignment.models.ensemble import Ensemble


class Resting:
    """Of one device. Nothing that is trained may rest: what an optimizer changed would be lost."""

    def __init__(self, device: torch.device, *models: nn.Module | Ensemble) -> None:
        self.device = device
        for weight in {weight for model in models for weight in _weights(model)}:
            assert not weight.requires_grad, "only frozen weights rest"
            weight.data = _in_host(weight.data)

    @contextmanager
    def awake(self, model: nn.Module | Ensemble) -> Iterator[None]:
        """The model's weights are on the device inside the context, as a copy that is forgotten after it."""
        at_rest = {weight: weight.data for weight in _weights(model)}
        for weight, values in at_rest.items():
            weight.data = values.to(self.device, non_blocking=True, copy=True)
        try:
            yield
        finally:
            for weight, values in at_rest.items():
                weight.data = values


def _weights(model: nn.Module | Ensemble) -> Iterator[nn.Parameter]:
    for each in model.models if isinstance(model, Ensemble) else [model]:
        yield from each.parameters()


def _in_host(values: Tensor) -> Tensor:
    """Pinned where a GPU fetches it: pages that lie still travel several times as fast."""
    here = values.cpu()
    return here.pin_memory() if torch.cuda.is_available() else here
