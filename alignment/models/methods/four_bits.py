"""A frozen base in four bits (QLoRA, Dettmers et al. 2023, section 3): NormalFloat4, the scales of its blocks of 64
numbers in eight bits themselves. bitsandbytes packs and multiplies; it is loaded where that is asked for, only.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from alignment.models.device import dtype_for
from alignment.models.view import bad
from alignment.shared.config import Light, LoRAConfig
from alignment.shared.methods import require_four_bits
from alignment.shared.sentence import Sentence

KIND = "nf4"


def wants_four_bits(light: Light | None) -> bool:
    """Whether the weights under the adapters are to be held so."""
    return isinstance(light, LoRAConfig) and light.bits is not None


def read_on(light: Light | None, device: torch.device | None) -> torch.device | None:
    """Where a model is read before such adapters are put on it: the host, where it is packed on the way to `device`."""
    return torch.device("cpu") if wants_four_bits(light) else device


def in_four_bits(model: nn.Module, device: torch.device) -> None:
    """Hold the linear layers of the trunk in four bits, on `device`; heads, embeddings and norms have the number type
    of frozen weights there. A layer that is packed already stays so. BadInput without bitsandbytes, and for a model
    whose weights mostly are in other layers, such as GPT-2's or experts in one tensor.
    """
    require_four_bits()
    layers = _linear_layers(model)
    _require_most(model, layers)
    for name, layer in layers:
        place, _, own = name.rpartition(".")
        setattr(model.get_submodule(place), own, _packed(layer, device))
    for weight in model.parameters():
        if weight.is_floating_point():
            weight.data = weight.data.to(dtype_for(device, trained=False))
    nn.Module.to(model, device)


def _linear_layers(model: Any) -> list[tuple[str, nn.Linear]]:
    heads = (model.get_output_embeddings(), getattr(model, "score", None))
    layers = ((name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear))
    return [(name, part) for name, part in layers if part not in heads and part.weight.is_floating_point()]


def _require_most(model: nn.Module, layers: list[tuple[str, nn.Linear]]) -> None:
    counted = sum(layer.weight.numel() for _, layer in layers)
    matrices = {name: weight.numel() for name, weight in model.named_parameters() if weight.dim() > 1}
    tables = {f"{name}.weight" for name, part in model.named_modules() if isinstance(part, nn.Linear | nn.Embedding)}
    others = sum(size for name, size in matrices.items() if name not in tables)
    if counted < others:
        share = f"{counted / (counted + others):.0%}"
        cause = Sentence(
            "four-bits-little",
            "lora.bits packs linear layers, which hold %(share)s of the weights in the blocks of %(name)s.",
            share=share,
            name=type(model).__name__,
        )
        raise bad(cause, Sentence("four-bits-unset", "Leave lora.bits unset."))


def _packed(layer: nn.Linear, device: torch.device) -> Any:
    library: Any = importlib.import_module("bitsandbytes.nn")  # in the types of which nothing would hold
    packed = library.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=False,
        compute_dtype=dtype_for(device, trained=False),
        quant_type=KIND,
        device="meta",
    )
    packed.bias = layer.bias
    packed.weight = library.Params4bit(layer.weight.detach(), requires_grad=False, quant_type=KIND).to(device)
    packed.support_avx512bf16_for_cpu = False  # it would pack weights anew that another model reads at the same time
    return packed.train(layer.training)
