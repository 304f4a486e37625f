"""Soft prompts: what is learnt stands before the text, as embeddings or as keys and values of every block.

They are PEFT's. However they were learnt, decoding begins with the keys and values that they come to, and goes on with
the model itself; that both say the same is tried out on each model, not guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from alignment.models.adapters import has_soft_prompt
from alignment.models.recurrent import is_recurrent
from alignment.models.view import bad
from alignment.shared.errors import StageError
from alignment.shared.methods import SoftPrompt
from alignment.shared.sentence import Sentence

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

CLOSE = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # of logits said in two ways, relative to the largest


def add_soft_prompt(model: PreTrainedModel, soft: SoftPrompt, seed: int) -> PeftModel:
    """The frozen model with a soft prompt to train. BadInput for a model that does not take one."""
    from peft import get_peft_model

    torch.manual_seed(seed)
    try:
        if is_recurrent(model):
            raise ValueError(Sentence("memory-is-a-state", "its memory is a running state"))
        found: PeftModel = get_peft_model(model, _settings(model, soft))
        found.prompt_encoder.float()
        _require_same(found)
    except (StageError, ValueError, TypeError, RuntimeError, AttributeError, AssertionError, IndexError) as error:
        told = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise bad(
            Sentence(
                "soft-prompt-unfit",
                "method %(kind)s does not work with %(name)s: %(told)s.",
                kind=f"{soft.kind!r}",
                name=type(model).__name__,
                told=told.rstrip("."),
            ),
            Sentence("choose-lora-or-ia3", "Choose another method, such as lora or ia3."),
        ) from error
    return found


def soft_tokens(model: Any) -> int:
    """How many tokens stand before every text."""
    return int(model.active_peft_config.num_virtual_tokens) if has_soft_prompt(model) else 0


def opened_with(model: Any, mask: Tensor) -> tuple[Any, DynamicCache, Tensor]:
    """The model that decodes, its cache as decoding begins, and the mask `(B, T)` with that cache before it."""
    ahead = soft_tokens(model)
    if not ahead:
        return model, DynamicCache(config=model.config), mask
    base = model.get_base_model()
    learnt = model.get_prompt(len(mask))
    if isinstance(learnt, Tensor):  # embeddings (B, N, H)
        cache = DynamicCache(config=base.config)
        learnt = base(inputs_embeds=learnt.to(base.dtype), past_key_values=cache, use_cache=True).past_key_values
    return base, learnt, torch.cat([mask.new_ones(len(mask), ahead), mask], dim=1)


def _settings(model: PreTrainedModel, soft: SoftPrompt) -> PeftConfig:
    from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig

    same: dict[str, Any] = {"task_type": "CAUSAL_LM", "num_virtual_tokens": soft.tokens}
    if soft.kind == "prefix":
        layers, heads, width = _cached(model)
        return PrefixTuningConfig(
            **same, num_layers=layers, num_attention_heads=heads, token_dim=heads * width, encoder_hidden_size=0
        )
    width = cast(Tensor, model.get_input_embeddings().weight).shape[1]
    if soft.kind == "prompt":
        return PromptTuningConfig(**same, token_dim=width, prompt_tuning_init="SAMPLE_VOCAB")
    return PromptEncoderConfig(**same, token_dim=width, encoder_hidden_size=width)


@torch.no_grad()
def _cached(model: PreTrainedModel) -> tuple[int, int, int]:
    """Layers, heads and width of the keys and values of one token, which must all be alike."""
    layers = model(input_ids=torch.tensor([[0, 0]], device=model.device), use_cache=True).past_key_values.layers
    shapes = {tuple(part.shape) for layer in layers for part in (layer.keys, layer.values)}
    if len(shapes) > 1:
        raise ValueError(Sentence("blocks-differ", "its keys and values are not alike in all blocks"))
    _, heads, _, width = shapes.pop()
    return len(layers), heads, width


@torch.no_grad()
def _require_same(model: PeftModel) -> None:
    """Training and decoding must read the soft prompt alike."""
    was_training = model.training
    model.eval()
    ids = torch.tensor([[5, 6, 7]], device=model.device)
    mask = torch.ones_like(ids)
    theirs = model(input_ids=ids, attention_mask=mask).logits[0, -1].float()
    base, cache, whole = opened_with(model, mask)
    place = torch.arange(whole.shape[1], device=ids.device)[None, -ids.shape[1] :]
    ours = base(input_ids=ids, attention_mask=whole, position_ids=place, past_key_values=cache).logits[0, -1].float()
    model.train(was_training)
    if not (ours - theirs).abs().max() <= CLOSE.get(base.dtype, 1e-3) * theirs.abs().max():
        raise ValueError(
            Sentence("reads-differently", "it reads what stands before the text in training otherwise than in decoding")
        )
