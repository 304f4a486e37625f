"""The reward model's forward pass over rankings, shared prompts included.

The Trainer, data parallelism and FSDP all call the model itself, so what they call must compute this:
`ranking_forward` puts it in the place of the model's own forward pass for as long as training lasts.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from alignment.models.device import autocast, has_bfloat16, in_float32
from alignment.models.forward import Model
from alignment.reward.batch import PAD, Packed, pack, sees
from alignment.reward.examples import Example

# Of the states with and without shared prompts, relative to their size: float32 differs by 1e-6, bfloat16 by 1e-2.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}


def packed_scores(model: Model, packed: Packed) -> Tensor:
    """The score head at the last token of each response: `(N,)`, float32. Outside training."""
    return in_float32(_base(model).score, end_states(model, packed)).flatten()


def end_states(model: Model, packed: Packed) -> Tensor:
    """The last hidden state at the last token of each response: `(N, H)`."""
    device = next(model.parameters()).device
    parts = (packed.input_ids, packed.segments, packed.position_ids, packed.ends)
    return _states(_base(model), *(part.to(device) for part in parts))


@contextmanager
def ranking_forward(model: Model) -> Iterator[None]:
    """Within: `model(input_ids, segments=, position_ids=, ends=)` gives the N scores, however it is wrapped."""
    base = _base(model)
    base.forward = types.MethodType(_forward, base)
    try:
        yield
    finally:
        del base.forward


@torch.no_grad()
def can_share(model: Model, examples: Sequence[Example], pad_id: int) -> bool:
    """Whether this architecture reads a shared prompt as it reads K copies: tried out, not guessed.

    Sliding windows, recurrent layers and attention without free masks do not.
    """
    if getattr(model.config, "_attn_implementation", "") != "sdpa":
        return False
    sample = sorted((e for e in examples if len(e.responses) > 1), key=lambda e: e.tokens)[-1:]
    if not sample:
        return False
    training = model.training
    model.eval()
    try:
        alone, shared = (end_states(model, pack(sample, pad_id, share=share)).float() for share in (False, True))
    except (RuntimeError, ValueError, TypeError):  # a mask of this shape is not understood
        return False
    finally:
        model.train(training)
    # Of all numbers together: the largest of a few scores falls on either side of a limit as rounding has it.
    tolerance = TOLERANCE[torch.bfloat16 if has_bfloat16(alone.device) else torch.float32]
    return bool((alone - shared).norm() <= tolerance * alone.norm())


def width_for_sharing(model: Model, examples: Sequence[Example], pad_id: int, wanted: bool) -> int | None:
    """What `collate_rankings` needs to choose the cheaper layout; None: always one row a response."""
    if not wanted or not can_share(model, examples, pad_id):
        return None
    return int(model.config.get_text_config().hidden_size)


def _forward(self: Any, input_ids: Tensor, attention_mask: None = None, **fields: Any) -> Tensor:
    """In place of a sequence classifier's forward pass; PEFT adds arguments that mean nothing here."""
    return _scores(self, input_ids, fields["segments"], fields["position_ids"], fields["ends"])


def _scores(base: Any, *fields: Tensor) -> Tensor:
    return in_float32(base.score, _states(base, *fields)).flatten()


def _states(base: Any, input_ids: Tensor, segments: Tensor, position_ids: Tensor, ends: Tensor) -> Tensor:
    # Only shared rows hold more responses than rows; the others need no mask but that of their padding.
    shared = ends.numel() > input_ids.shape[0]
    mask = sees(segments) if shared else (segments != PAD).long()
    with autocast(input_ids.device):
        states: Tensor = base.base_model(
            input_ids=input_ids, attention_mask=mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state  # (B, T, H)
    return states.flatten(0, 1)[ends]


def _base(model: Any) -> Any:
    """The classifier itself, adapters inside it, without PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
