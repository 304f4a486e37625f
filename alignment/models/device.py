"""What a stage needs to know about its machine: the device, and the number types that it is quick in."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU. On a GPU float32 products, those of the heads, are TF32's from then on:
    eight times as exact as bfloat16 and eight times as fast as float32."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.set_float32_matmul_precision("high")
    return torch.device("cuda")


def dtype_for(device: torch.device, *, trained: bool) -> torch.dtype:
    """The number type of a model's weights: bfloat16 for frozen weights on a GPU that has it, float32 elsewhere.

    Weights that an optimizer changes stay float32 (an update of 1e-6 vanishes in bfloat16's 8 bits);
    on a GPU their matrix products still run in bfloat16, under `autocast`.
    """
    return torch.bfloat16 if has_bfloat16(device) and not trained else torch.float32


def autocast(device: torch.device, *, cached: bool = True) -> torch.autocast:
    """The context of every forward pass: bfloat16 products on a GPU that has them, else nothing; or what a trainer
    has chosen around it. `cached`: whether a weight that was cast stays so until the context's end."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, dtype=torch.get_autocast_dtype(device.type), cache_enabled=cached)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_bfloat16(device), cache_enabled=cached)


def in_float32(head: Any, hidden: Tensor) -> Tensor:
    """What an output layer says of `hidden`, `(..., H)`, in float32 whatever the weights are and autocast says.

    In bfloat16 two log-probabilities near -1 differ by 0.004 or not at all, and scores of many texts fall together.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        if head.weight.dtype == torch.float32:  # the layer itself: a CPU has a quicker one
            said: Tensor = head(hidden.float())
            return said
        return F.linear(hidden.float(), head.weight.float(), None if head.bias is None else head.bias.float())


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself: NVIDIA's GPUs before Ampere do not, and are slow to pretend."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def is_in_four_bits(model: torch.nn.Module) -> bool:
    """Whether weights of it are packed (alignment/models/methods/four_bits.py)."""
    return any(hasattr(weight, "quant_state") for weight in model.parameters())
