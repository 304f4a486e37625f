"""Decoding for models whose memory is a running state (Mamba, RWKV, hybrids): the whole text again at each step.

Their state knows no padding on the left, and cannot be taken apart when a row is done, as a key-value cache can. The
rows are padded on the right, where a causal model never looks; a step costs a pass over the text so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from alignment.data.batch import pad_right
from alignment.models.device import autocast

OWN_CACHE = ("minimax",)  # whose layers keep sums of all that came before, and refuse a key-value cache


def is_recurrent(model: Any) -> bool:
    """Whether the model carries a state from token to token, or has a cache that only its own library can fill."""
    own = model.get_base_model() if hasattr(model, "get_base_model") else model
    return bool(getattr(own, "_is_stateful", False)) or own.config.model_type in OWN_CACHE


def replies(
    model: Any,
    pad_id: int,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    draw: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]],
    stops: Sequence[int],
) -> tuple[list[list[int]], list[list[float]]]:
    """The tokens of a reply to each prompt, the stop included, and what `draw` says of each.

    It is given the logits of the rows that are still going, their numbers, and how many tokens they have.
    """
    texts = [list(prompt) for prompt in prompts]
    said: list[list[int]] = [[] for _ in prompts]
    logprobs: list[list[float]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    for step in range(max_new_tokens):
        logits = _next_logits(model, [texts[row] for row in alive], pad_id)
        tokens, chances = draw(logits, torch.tensor(alive, device=logits.device), step)
        for row, token, chance in zip(alive, tokens.tolist(), chances.tolist(), strict=True):
            texts[row].append(token)
            said[row].append(token)
            logprobs[row].append(chance)
        alive = [row for row in alive if said[row][-1] not in stops]
        if not alive:
            break
    return said, logprobs


def _next_logits(model: Any, texts: Sequence[list[int]], pad_id: int) -> Tensor:
    """Of the token after each text: `(B, V)`."""
    lengths = torch.tensor([len(text) for text in texts], device=model.device)
    ids = pad_right(texts, pad_id).to(model.device)
    with autocast(model.device):
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits[torch.arange(len(texts), device=model.device), lengths - 1]
