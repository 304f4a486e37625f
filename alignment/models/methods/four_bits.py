"""A base in 4 bits under adapters that are trained (Dettmers et al. 2023, QLoRA). bitsandbytes holds it, on a GPU.

The base alone, while it is loaded: what is saved are adapters, which are read again on the base as it is stored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from alignment.models.device import has_bfloat16
from alignment.shared.config import Light
from alignment.shared.gpus import refuse_four_bits
from alignment.shared.settings import is_in_four_bits


def loading(light: Light | None, device: torch.device) -> dict[str, Any]:
    """What the library is told so that it holds the weights as `light` wants them. BadInput where it cannot."""
    if not is_in_four_bits(light):
        return {}
    refuse_four_bits(gpus=device.type == "cuda")
    kind = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",  # whose steps lie as dense as weights do, which are normal
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if has_bfloat16(device) else torch.float16,
    )
    return {"quantization_config": kind, "device_map": {"": device}}


def forget_loading(model: nn.Module) -> None:
    """Take out of the model's config how it was loaded: it is saved beside adapters, and no file holds 4 bits."""
    vars(model.config).pop("quantization_config", None)


def learn_in_float32(model: nn.Module) -> None:
    """TRL's trainer makes adapters on 4 bits bfloat16, in which a step of 1e-6 is lost."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
