"""The machine: what there is, and the two rates that nothing can pass."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from typing import Any

import torch

from tests.gpu.bench import Bench

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "pydantic")
ROUNDS = 5


def environment(bench: Bench) -> dict[str, Any]:
    said: dict[str, Any] = {"device": bench.device.type, "python": platform.python_version(), "cores": os.cpu_count()}
    for name in LIBRARIES:
        try:
            said[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            said[name] = None
    if bench.device.type == "cuda":
        card = torch.cuda.get_device_properties(0)
        said |= {"card": card.name, "gigabytes": card.total_memory / 1e9, "capability": f"{card.major}.{card.minor}"}
    else:
        said["processor"] = _processor()
    return said


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


@functools.cache
def bandwidth(bench: Bench) -> float:
    """Bytes a second that a copy moves, read and written."""
    numbers = torch.ones((2**22 if bench.small else 2**30) // 2, dtype=torch.bfloat16, device=bench.device)
    other = torch.empty_like(numbers)
    return 2 * numbers.nbytes / min(bench.seconds(lambda: other.copy_(numbers)) for _ in range(ROUNDS))


@functools.cache
def matrix_rate(bench: Bench) -> float:
    """Operations a second of a large product, in the number type that training multiplies in."""
    size, dtype = (256, torch.float32) if bench.small else (8192, torch.bfloat16)
    a, b = (torch.randn(size, size, device=bench.device).to(dtype) for _ in range(2))
    return 2 * size**3 / min(bench.seconds(lambda: a @ b) for _ in range(ROUNDS))


def rates(bench: Bench) -> dict[str, Any]:
    return {"gigabytes_s": bandwidth(bench) / 1e9, "teraflops": matrix_rate(bench) / 1e12}


CHECKS = {"environment": environment, "ceilings": rates}
