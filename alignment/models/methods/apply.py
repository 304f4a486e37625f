"""The one place where a method meets a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from transformers import PreTrainedModel

from alignment.models.adapters import Task, add_adapters
from alignment.models.methods.parts import train_parts
from alignment.models.methods.soft_prompts import add_soft_prompt
from alignment.shared.config import Light
from alignment.shared.methods import OwnWeights, SoftPrompt

if TYPE_CHECKING:
    from peft import PeftModel


def trains_own_weights(light: Light | None) -> bool:
    """Whether an optimizer changes the model's weights themselves, which then are float32."""
    return light is None or isinstance(light, OwnWeights)


def apply(
    model: PreTrainedModel | PeftModel, light: Light | None, task: Task, seed: int
) -> PreTrainedModel | PeftModel:
    """`model`, of which everything is trained, with only that to train which the method trains."""
    match light:
        case None:
            return model
        case OwnWeights():
            train_parts(cast(PreTrainedModel, model), light)
            return model
        case SoftPrompt():
            return add_soft_prompt(cast(PreTrainedModel, model), light, seed)
    return add_adapters(model, light, task, seed)
