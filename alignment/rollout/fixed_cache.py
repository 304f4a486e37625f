"""A key-value cache of fixed size: room for so many rows of so many tokens, allocated once and written in place.

Transformers has a `StaticCache`. This one differs where decoding for PPO needs it: it keeps keys and values in the type
that attention multiplies in (rotary embeddings promote them, and a float32 cache is twice the bytes for every token);
all layers share one count of tokens; the first rows and the first tokens of it can be shown alone, so that a batch that
has become narrow, or is still short, reads no more than it has; and layers with a window keep all tokens, with the
library's mask over them, as their own ring needs a count that a CUDA graph cannot see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin, get_layer_types_and_kwargs

KINDS = {"full_attention", "sliding_attention", "chunked_attention"}  # of layers whose past is keys and values alone
ATTENTION = ("sdpa", "eager")  # flash attention takes padding out of a batch, for which the host must know its lengths


def is_known(model: Any) -> bool:
    """Whether the library says that the model can decode on a cache of fixed size, and all its layers are attention."""
    config = model.config.get_text_config(decoder=True)
    kinds, _ = get_layer_types_and_kwargs(config)
    return (
        bool(getattr(model, "_can_compile_fullgraph", False))
        and config._attn_implementation in ATTENTION
        and set(kinds) <= KINDS
    )


@dataclass
class Seen:
    """What a forward pass sees of the cache."""

    rows: slice
    length: int  # of tokens, from the first one on
    prompt: bool  # whether it writes prompts, from the first token on; else one token to each row, at `place`
    place: Tensor  # scalar: where the next token goes


class FixedCache(Cache):
    """Keys and values of `rows` texts of `length` tokens at most."""

    layers: list[FixedLayer]  # type: ignore[assignment]

    def __init__(self, config: Any, rows: int, length: int, device: torch.device) -> None:
        self.rows, self.length = rows, length
        self.place = torch.zeros((), dtype=torch.long, device=device)
        self._seen = Seen(slice(0, rows), length, True, self.place)
        kinds, _ = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
        layers = [FixedLayer(rows, length, self._seen) for _ in kinds]
        super().__init__(layers=layers)  # type: ignore[arg-type]

    def show_prompt(self, rows: slice, length: int) -> None:
        """The next pass writes prompts of `length` tokens into these rows."""
        self._seen.rows, self._seen.length, self._seen.prompt = rows, length, True

    def show_step(self, rows: int, length: int) -> None:
        """The next pass writes one token to each of the first `rows`, at `place`, and reads the first `length`."""
        self._seen.rows, self._seen.length, self._seen.prompt = slice(0, rows), length, False

    def keep(self, rows: Tensor, length: int) -> None:
        """Move these rows `(b,)` to the front, `length` tokens of each. A graph has shown what it shows when it was
        captured: how much is written must be said."""
        for layer in self.layers:
            for whole in (layer.keys, layer.values):
                assert whole is not None, "rows are kept after a pass"
                whole[: len(rows), :, :length] = whole[rows, :, :length]

    @property
    def nbytes(self) -> int:
        """What it takes, once it was written to."""
        return sum(whole.nbytes for layer in self.layers for whole in (layer.keys, layer.values) if whole is not None)


class FixedLayer(CacheLayerMixin):
    """One layer's part; keys and values are `(B, heads, T, D)`."""

    is_compileable = True  # the library then makes masks without a look at what they hold

    def __init__(self, rows: int, length: int, seen: Seen) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows, self._length, self._seen = rows, length, seen

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        dtype, heads = _multiplied(key_states), key_states.shape[1]
        self.keys = key_states.new_zeros(self._rows, heads, self._length, key_states.shape[-1], dtype=dtype)
        self.values = value_states.new_zeros(self._rows, heads, self._length, value_states.shape[-1], dtype=dtype)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write, and give all that is shown."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._write(self.keys, key_states), self._write(self.values, value_states)

    def _write(self, whole: Tensor | None, new: Tensor) -> Tensor:
        assert whole is not None, "it was initialized"
        part = whole[self._seen.rows, :, : self._seen.length]
        if self._seen.prompt:
            return part.copy_(new)
        return part.index_copy_(2, self._seen.place.view(1), new.to(part.dtype))

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._seen.length, 0

    def get_seq_length(self) -> int:
        return 0 if self._seen.prompt else self._seen.place  # type: ignore[return-value]  # as `StaticLayer` does

    def get_max_length(self) -> int:
        return self._length


def _multiplied(states: Tensor) -> torch.dtype:
    """The type that attention multiplies these in."""
    kind = states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
