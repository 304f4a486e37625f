"""Sequences of unequal length as one row without padding, on a CPU.

Everything but attention treats tokens one by one, so a batch may be its tokens in a row; attention then goes through
the sequences one after another. The row is filled up to a round number of tokens (linear.py). On a GPU, where a
kernel a sequence would cost more than padding, and for models whose attention is more than plain and causal, batches
stay rectangles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from alignment.cpu.linear import rounded

PLAIN, PACKED = "sdpa", "packed"


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention as transformers calls it, all `(1, heads, N, D)`: each sequence of `row_lengths` to itself."""
    lengths = options.pop("row_lengths", None)
    if lengths is None:  # while decoding
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    options["is_causal"] = True
    rows = zip(*(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True)
    parts = [sdpa_attention_forward(module, q, k, v, None, **options)[0] for q, k, v in rows]
    return torch.cat(parts, dim=1), None


AttentionInterface.register(PACKED, attend)
AttentionMaskInterface.register(PACKED, sdpa_mask)


def enable(model: Any) -> None:
    """From now on `is_packed` holds, if the model (without adapters' wrapper) can do it and computes the same."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    simple = kinds == {"full_attention"} and getattr(config, "sliding_window", None) is None
    if model.device.type != "cpu" or model.dtype != torch.float32 or config._attn_implementation != PLAIN or not simple:
        return
    model.set_attn_implementation(PACKED)
    if not _same(model):
        model.set_attn_implementation(PLAIN)


def is_packed(model: Any) -> bool:
    return getattr(model.config, "_attn_implementation", None) == PACKED


@contextmanager
def disabled(model: Any) -> Iterator[None]:
    """For code that knows the library's own kinds of attention only."""
    packed = is_packed(model)
    if packed:
        model.set_attn_implementation(PLAIN)
    try:
        yield
    finally:
        if packed:
            model.set_attn_implementation(PACKED)


def states(model: Any, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Last hidden states of right-padded `ids` `(B, T)`, `(N', H)`, and where in them each row begins, `(B,)`."""
    there = torch.arange(ids.shape[1]) < lengths[:, None]
    spare = rounded(int(lengths.sum())) - int(lengths.sum())
    rows = lengths.tolist()
    places = torch.cat([torch.arange(length) for length in rows])
    found = model.base_model(
        input_ids=F.pad(ids[there], (0, spare))[None],
        position_ids=F.pad(places, (0, spare))[None],
        attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool),  # of four dimensions: none is made, none is read
        use_cache=False,
        row_lengths=[*rows, spare] if spare else rows,
    ).last_hidden_state[0]
    return found, lengths.cumsum(0) - lengths


@torch.no_grad()
def _same(model: Any) -> bool:
    """Whether two rows come out packed as they do alone."""
    try:
        packed, _ = states(model, torch.tensor([[1, 2, 3, 4], [3, 2, 0, 0]]), torch.tensor([4, 2]))
    except (TypeError, ValueError, RuntimeError):  # a model that takes no further arguments, or no such mask
        return False
    alone = [model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in ([1, 2, 3, 4], [3, 2])]
    return torch.allclose(packed[:6], torch.cat(alone), atol=1e-4, rtol=1e-3)
