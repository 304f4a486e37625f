"""What a stage needs to know about its machine: the device, and the number types that it is quick in."""

from __future__ import annotations

import torch


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def dtype_for(device: torch.device, *, trained: bool) -> torch.dtype:
    """The number type of a model's weights: bfloat16 for frozen weights on a GPU that has it, float32 elsewhere.

    Weights that an optimizer changes stay float32 (an update of 1e-6 vanishes in bfloat16's 8 bits);
    on a GPU their matrix products still run in bfloat16, under `autocast`.
    """
    return torch.bfloat16 if has_bfloat16(device) and not trained else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """The context of every forward pass: bfloat16 products on a GPU that has them, else nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself: NVIDIA's GPUs before Ampere do not, and are slow to pretend."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
