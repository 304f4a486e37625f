"""A GPU that is none: every tensor says that it lies on `cuda`, bfloat16 is multiplied, and a CPU does the work.

What a stage decides by the device or by its number types is then what it decides on a GPU: no lanes, no packing,
bfloat16 products under autocast, frozen weights in bfloat16. It cannot show a GPU's own arithmetic, memory and speed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from alignment.models import device

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
_get_device = torch.Tensor.device.__get__  # type: ignore[attr-defined]


class CallsItselfCuda(TorchFunctionMode):
    """Within: `tensor.device` is `cuda`, and whatever asks for `cuda` gets the CPU."""

    asleep = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if self.asleep:
            return func(*args, **(kwargs or {}))
        if func == _get_device:
            own = func(*args)
            return CUDA if own == CPU else own
        return func(*map(_real, args), **{name: _real(value) for name, value in (kwargs or {}).items()})


def _real(value: Any) -> Any:
    return CPU if isinstance(value, str | torch.device) and str(value) == "cuda" else value


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """What is loaded and run inside stands on it. Threads that begin inside do not."""
    mode = CallsItselfCuda()
    enabled, dtype = torch.is_autocast_enabled, torch.get_autocast_dtype
    autocast, generator, load = torch.autocast, torch.Generator, PreTrainedModel.from_pretrained.__func__

    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        mode.asleep = True  # the library loads with threads; without any mode its tables would be left as they came
        try:
            return load(cls, *args, **kwargs)
        finally:
            mode.asleep = False

    class Autocast(autocast):  # type: ignore[misc, valid-type]
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu", *args, **kwargs)

    with (
        _everywhere("has_bfloat16", lambda device: True),
        _everywhere("pick_device", lambda: CUDA),
        patch("torch.autocast", Autocast),
        patch("torch.is_autocast_enabled", lambda device_type="cpu": enabled("cpu")),
        patch("torch.get_autocast_dtype", lambda device_type: dtype("cpu")),
        patch("torch.Generator", lambda device=None: generator()),
        patch("alignment.rollout.decode_support._free", lambda: 2**34),
        patch.object(PreTrainedModel, "from_pretrained", classmethod(from_pretrained)),
        mode,
    ):
        yield


@contextmanager
def _everywhere(name: str, value: Any) -> Iterator[None]:
    """`alignment.models.device.name` is `value`, also for those who have imported it."""
    own = getattr(device, name)
    places = [module for module in list(sys.modules.values()) if getattr(module, name, None) is own]
    for module in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module in places:
            setattr(module, name, own)
