"""What a model needs before policies are trained with it: no dropout, and what a CPU gains by."""

from __future__ import annotations

import torch

from alignment.cpu import packing
from alignment.cpu.linear import speed_up
from alignment.models.adapters import is_adapted
from alignment.models.device import pick_device
from alignment.models.forward import Model
from alignment.models.library import recompute_activations
from alignment.shared.config import PPOConfig, RLOOConfig


def make_ready(model: Model, config: PPOConfig | RLOOConfig) -> None:
    """Dropout off: with it the ratio of the first pass would not be 1 (adapters bring dropout of their own)."""
    quicken(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    if config.gradient_checkpointing:
        recompute_activations(model)


def quicken(model: Model) -> None:
    """What a CPU gains by: products by oneDNN, no padding. Not where it is only read there, to be shared out."""
    if pick_device().type != "cpu":
        return
    speed_up(model)
    packing.enable(model.get_base_model() if is_adapted(model) else model)
