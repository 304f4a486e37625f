"""How many tokens' logits TRL has at one time on a CPU.

Its head takes 4,096 tokens by 32,768 words at a time and works each block out in eight tensors of that size: on a CPU,
where no kernel does it in one, the largest of all that SFT holds. Blocks of fewer tokens give the same
log-probabilities, bit by bit, and sums of gradients that differ by rounding, 1e-6; they take no longer.
"""

from __future__ import annotations

import trl.kernels.chunked_logprob as head

from alignment.shared.memory import TILE_TOKENS


def use_small_tiles() -> None:
    """For this process, from now on."""
    head.TOKEN_CHUNK_SIZE = TILE_TOKENS
