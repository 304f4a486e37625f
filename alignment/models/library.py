"""What releases of transformers call by different names: 5.17 to 5.23 are spoken to alike, here and nowhere else."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from transformers import ContinuousBatchingConfig, PretrainedConfig

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
