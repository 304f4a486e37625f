"""What every check is given: where it runs, where it may write, and how it takes the time and the memory."""

from __future__ import annotations

import functools
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.support.alignment import small_ppo


@dataclass(frozen=True)
class Bench:
    device: torch.device
    scratch: Path
    small: bool  # small shapes

    @functools.cached_property
    def folders(self) -> Path:
        """A tiny policy, a reward model and prompts (small_ppo.py)."""
        folder = self.scratch / "tiny"
        folder.mkdir()
        return small_ppo.write(folder)

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    @contextmanager
    def peak(self) -> Iterator[dict[str, int]]:
        """Most bytes inside: torch's on a GPU; on a CPU what the process grew by, at most."""
        found: dict[str, int] = {}
        before = _resident()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        yield found
        found["bytes"] = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else _resident() - before


def _resident() -> int:
    """Most bytes that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
