"""Models into folders: whole, or as adapters beside their base (adapters.py)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alignment.data.stops import keep_stops, savable
from alignment.models.adapters import is_adapted, whole_folder
from alignment.models.folder import first_member
from alignment.models.sharing import in_type, merged
from alignment.models.sizes import stored_type

if TYPE_CHECKING:
    from peft import PeftModel


def saved_type(setting: str, base: Path) -> torch.dtype:
    """The number type in which a model that was trained from the folder `base` is saved."""
    return (
        stored_type(whole_folder(first_member(base)))
        if setting == "as_loaded"
        else cast(torch.dtype, getattr(torch, setting))
    )


def round_weights(model: PreTrainedModel | PeftModel, dtype: torch.dtype) -> None:
    """Give every weight a value that `dtype` holds, its own type kept: what is measured then is what is saved."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.to(dtype))


def save_model(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write weights (safetensors, in `dtype`), config and tokenizer; adapters are merged into a whole model.

    `model` stays as it is.
    """
    whole = in_type(merged(model, dtype) if is_adapted(model) else cast(PreTrainedModel, model), dtype)
    settle(whole, tokenizer)  # a trainer may have left its own settings, a tokenizer may have got its template since
    whole.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def settle(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let the model's settings say what its tokenizer says, in a form that can be saved."""
    text = model.config.get_text_config()
    if getattr(model, "generation_config", None) is not None:  # a scorer generates nothing
        keep_stops(model, tokenizer)
        model.generation_config = savable(model.generation_config)
    text.pad_token_id, text.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    if getattr(text, "output_router_logits", False):
        # A trainer's setting: with it every forward pass also makes the auxiliary loss, which no mask of ours fits.
        text.output_router_logits = False
