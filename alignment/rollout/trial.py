"""Whether a way of decoding computes what our forward pass does: tried out on a model, not guessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from alignment.data import chat
from alignment.data.batch import Sequences
from alignment.models.device import has_bfloat16
from alignment.models.forward import response_logprobs
from alignment.rollout.batches import Generated
from alignment.shared.records import Prompt

TRIED = 8  # tokens of the replies
MOST_GAP = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # nats a token; bfloat16 alone makes a few hundredths


@torch.no_grad()
def gap_of(
    decode: Callable[[Sequence[Sequence[int]], torch.Generator], Generated],
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
) -> float:
    """Mean difference of the log-probabilities that decoding and our forward pass give to a few replies of up to
    TRIED tokens."""
    prompts = [chat.prompt_ids(tokenizer, Prompt.from_text(text)) for text in ("Hello?", "What is this, and why?")]
    said = decode(prompts, torch.Generator(model.device).manual_seed(0))
    rows = [said.ids(row) for row in range(len(prompts))]
    joined = Sequences.join(prompts, rows, said.finished.tolist(), tokenizer.pad_token_id).to(model.device)
    gaps = (response_logprobs(model, joined, 1.0) - said.logprobs)[joined.response_mask].abs()
    return float(gaps.mean())


def most_gap(device: torch.device) -> float:
    """What rounding alone may make of it there."""
    return MOST_GAP[torch.bfloat16 if has_bfloat16(device) else torch.float32]
