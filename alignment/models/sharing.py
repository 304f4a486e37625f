"""Several models on one set of weights: each has modules of its own, the tensors in them are the same.

So the roles of PPO stand on one base with an adapter each, and none has to be switched on before it is asked: what is
trained, quickened or recomputed in one model concerns no other, and two threads may be in two models at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from alignment.models.adapters import can_be_merged, has_soft_prompt, is_adapted, tuned_layers
from alignment.models.device import dtype_for
from alignment.models.library import ensure_scorer
from alignment.models.view import bad
from alignment.shared.sentence import Sentence

M = TypeVar("M", bound=nn.Module)
Change = Callable[[nn.Parameter], nn.Parameter]


def twin(model: M, change: Change = lambda weight: weight) -> M:
    """The same model in modules and settings of its own, on the weights of `model`, or on what `change` makes of them.

    Weights that are tied stay so: `copy` asks once for each tensor.
    """
    tables = {id(table): table for table in model.buffers()}
    return copy.deepcopy(model, tables | {id(weight): change(weight) for weight in model.parameters()})


def frozen_copy(model: M) -> M:
    """The same model, frozen as it is now: what is trained in `model` is copied, the rest is shared."""
    return twin(model, lambda w: nn.Parameter(w.detach().clone(), requires_grad=False) if w.requires_grad else w)


def with_own_head(scorer: M) -> M:
    """A twin whose score head is its own: what it learns, or is scaled by, the other does not see."""
    own = twin(scorer)
    base = own.get_base_model() if is_adapted(own) else own
    base.score = copy.deepcopy(base.score)
    return own


def in_type(model: M, dtype: torch.dtype) -> M:
    """`model` with weights of this type; those that have it already, or are packed in fewer bits, are shared.

    The weights alone: tables that are computed, such as rotary frequencies, would lose what no file gives back.
    """

    def change(weight: nn.Parameter) -> nn.Parameter:
        if not weight.is_floating_point():
            return weight
        return nn.Parameter(weight.detach().to(dtype), requires_grad=weight.requires_grad)

    return twin(model, change)


@torch.no_grad()
def merged(model: nn.Module, dtype: torch.dtype) -> PreTrainedModel:
    """Base and adapters as one whole model; `model` stays as it is. What has no adapter is shared with it.

    They are added in float32, then rounded to `dtype`: a step of 1e-4 is lost in bfloat16's 8 bits.
    """
    if has_soft_prompt(model):
        kind = str(model.active_peft_config.peft_type.value).lower()
        raise bad(
            Sentence(
                "soft-prompt-left",
                "The model has a soft prompt (%(kind)s), which is no part of the weights that a next stage "
                "starts from.",
                kind=kind,
            ),
            Sentence("soft-prompt-next", "Sample from it, or train it again with method lora, ia3, layers or full."),
        )
    if is_adapted(model) and not can_be_merged(model):
        raise bad(
            Sentence(
                "bottleneck-left",
                "The model has bottleneck adapters (houlsby), which cannot be merged into the weights that a next "
                "stage starts from.",
            ),
            Sentence("soft-prompt-next", "Sample from it, or train it again with method lora, ia3, layers or full."),
        )
    whole = twin(model)
    for layer in tuned_layers(whole):
        base = layer.get_base_layer()
        own = [name for name in ("weight", "bias") if getattr(base, name, None) is not None]
        for name in own:  # a bias is rescaled by IA3
            copied = getattr(base, name).detach().to(torch.float32, copy=True)
            setattr(base, name, nn.Parameter(copied, requires_grad=False))
        layer.merge()
        for name in own:
            getattr(base, name).data = getattr(base, name).data.to(dtype)
    assert is_adapted(whole), "only a model with adapters is merged"
    tuner: Any = whole.base_model
    return cast(PreTrainedModel, tuner.unload())


def scorer_on(base: PreTrainedModel) -> PreTrainedModel | None:
    """A scorer on the trunk of a language model, its head still to be filled; None where the family's scorer has
    another trunk."""
    own = twin(base)
    own.config.num_labels = 1
    ensure_scorer(own.config)
    with torch.device("meta"):
        scorer: Any = AutoModelForSequenceClassification.from_config(copy.deepcopy(own.config))  # type: ignore[no-untyped-call]
    place = scorer.base_model_prefix
    if type(getattr(scorer, place, None)) is not type(own.base_model) or own.base_model is own:
        return None
    setattr(scorer, place, own.base_model)
    scorer.config = own.config  # trunk and scorer read one
    scorer.config.architectures = [type(scorer).__name__]
    head = scorer.score.to_empty(device=base.device).to(base.dtype).requires_grad_(False)
    torch.nn.init.zeros_(head.weight)
    return None if any(weight.is_meta for weight in scorer.parameters()) else cast(PreTrainedModel, scorer.eval())


class DecodingCopy:
    """A model's weights as frozen ones are, for decoding: every token reads all of them, in bfloat16 half the bytes.

    What is frozen in that type is shared, so on a base with adapters the copy is one of the adapters.
    """

    def __init__(self) -> None:
        self._copy: Any = None

    @torch.no_grad()
    def of(self, model: M) -> M:
        """The copy, its weights as those of `model` are now. It is made for the first model that is asked for."""
        if self._copy is None:
            self._copy = in_type(model, dtype_for(next(model.parameters()).device, trained=False)).requires_grad_(False)
        for mine, weight in zip(self._copy.parameters(), model.parameters(), strict=True):
            if mine.data_ptr() != weight.data_ptr():
                mine.copy_(weight)
        return cast(M, self._copy)
