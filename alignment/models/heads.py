"""A reward model of every family: where the library has no sequence classifier, one is made from its own parts.

103 of the 189 causal families have none. The generic one is the library's (a linear layer without bias on the
trunk's last hidden states), put on the family's trunk, and is saved under the name that the library would give it.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)


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
    return type(name, (GenericForSequenceClassification, family), own)
