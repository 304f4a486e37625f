"""What transformers lacks, and what its releases call by different names: 5.17 to 5.23 are spoken to alike, here alone.

103 of its 189 causal families have no sequence classifier: a reward model of theirs is made from the library's own
parts. The generic one (a linear layer without bias on the trunk's last hidden states) is put on the family's trunk, and
is saved under the name that the library would give it.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, cast

import torch
from transformers import (
    AutoModelForSequenceClassification,
    ContinuousBatchingConfig,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)

PAGE = "page_size"  # 5.17: block_size
RECOMPUTE = "activation_checkpointing"  # 5.17: gradient_checkpointing


def parts_of(kind: type[PretrainedConfig]) -> dict[str, type[Any]]:
    """The configs that a config of this kind is made of, by the setting that holds each."""
    return dict(kind.sub_configs)  # sub_configs_defaults, which came later, says the same at more length


def recompute_activations(model: Any) -> None:
    """Keep no layer's activations: each is computed again for its gradient."""
    newer = getattr(model, f"{RECOMPUTE}_enable", None)
    (newer or model.gradient_checkpointing_enable)()


def paged(tokens: int, **settings: Any) -> ContinuousBatchingConfig:
    """Settings of continuous batching whose cache lies in pages of so many tokens."""
    known = {field.name for field in fields(ContinuousBatchingConfig)}
    settings[PAGE if PAGE in known else "block_size"] = tokens
    return ContinuousBatchingConfig(**settings)


def recomputing(arguments: type[Any], on: bool) -> dict[str, bool]:
    """The same as `recompute_activations`, for a trainer that takes these arguments."""
    known = {field.name for field in fields(arguments)}
    return {RECOMPUTE if RECOMPUTE in known else "gradient_checkpointing": on}


def ensure_scorer(config: PretrainedConfig) -> None:
    """Let `AutoModelForSequenceClassification` know a model of this config's family."""
    kind = type(config)
    if MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(kind, None) or not MODEL_FOR_CAUSAL_LM_MAPPING.get(kind, None):
        return
    # `exist_ok` also means: for a config of the library's own, where nothing exists yet.
    AutoModelForSequenceClassification.register(kind, _scorer(kind), exist_ok=True)


def _scorer(kind: type[PretrainedConfig]) -> Any:
    causal: Any = MODEL_FOR_CAUSAL_LM_MAPPING[kind]
    family = next(base for base in causal.__mro__[1:] if issubclass(base, PreTrainedModel))
    name = family.__name__.removesuffix("PreTrainedModel") + "ForSequenceClassification"
    own = {"config_class": kind, "base_model_prefix": causal.base_model_prefix, "__module__": __name__}
    # For code of another's the library does not compute a trunk's tables anew (Falcon-H1's multipliers), and these are
    # in no file. This class is made of its own parts.
    own["is_custom_code"] = classmethod(lambda cls: False)
    return type(name, (GenericForSequenceClassification, family), own)


def new_head(scorer: PreTrainedModel, seed: int) -> None:
    """Fill a score head as Stiennon et al. 2020 do: see `load_scorer`."""
    head = cast(torch.nn.Linear, scorer.score).weight
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(head.shape, generator=generator) / math.sqrt(head.shape[1] + 1)
    with torch.no_grad():
        head.copy_(values)
