"""The random numbers of responses. Each response has a stream of its own, so it hangs neither on the process that
draws it, nor on the responses beside it, nor on the device.

A stream is a counter-based generator (Philox, Salmon et al. 2011), keyed by the seed, the batch and the row in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Draws = Callable[[Sequence[int], int], Tensor]  # rows of a batch and a number of tokens: `(B, R)` in [0, 1)

EVALUATIONS = 0  # the batch of all evaluations, which are compared; updates count from 1


def draws_of(seed: int, batch: int) -> Draws:
    """Those of the rows of a batch."""

    def draw(rows: Sequence[int], tokens: int) -> Tensor:
        keys = (np.random.SeedSequence(seed, spawn_key=(batch, row)) for row in rows)
        return torch.from_numpy(np.stack([np.random.Generator(np.random.Philox(key)).random(tokens) for key in keys]))

    return draw


@dataclass
class Streams:
    """What a run draws its responses with."""

    seed: int
    # Of engines that draw by themselves; and of all responses, as they are decoded, in a run that began that way.
    shared: torch.Generator
    own: bool = True

    def of(self, batch: int) -> Draws | None:
        """None: the rows take their numbers from the shared stream."""
        return draws_of(self.seed, batch) if self.own else None
