"""Training some of a model's own weights: the last blocks, parts by name, or biases. The rest is frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from alignment.models.view import bad
from alignment.shared.methods import OwnWeights
from alignment.shared.sentence import Sentence

HEAD = "score."  # of a reward model or critic: it is always learnt


def train_parts(model: PreTrainedModel, parts: OwnWeights) -> None:
    """Freeze all but those. Raises BadInput for what the model does not have."""
    chosen = _biases(model) if parts.biases else _layers(model, parts.layers)
    model.requires_grad_(False)
    for name, weight in model.named_parameters(remove_duplicate=False):  # a tied weight has two names
        if chosen(name) or name.startswith(HEAD):
            weight.requires_grad_(True)


def _biases(model: PreTrainedModel) -> Callable[[str], bool]:
    if not any(name.endswith("bias") for name, _ in model.named_parameters()):
        raise bad(
            Sentence(
                "no-biases", "method 'bitfit' trains biases, of which %(name)s has none.", name=type(model).__name__
            ),
            Sentence("choose-other-method", "Choose another method, such as lora, ia3 or layers."),
        )
    return lambda name: name.endswith("bias")


def _layers(model: PreTrainedModel, layers: int | tuple[str, ...]) -> Callable[[str], bool]:
    parts = _last(model, layers) if isinstance(layers, int) else layers
    names = [f".{name}" for name, _ in model.named_parameters(remove_duplicate=False)]
    for part in parts:
        if not any(f".{part}." in name for name in names):
            known = sorted({name.split(".")[-2] for name in names} - {""})[:20]
            raise bad(
                Sentence(
                    "no-such-part",
                    "layers: %(name)s has no part %(part)s.",
                    name=type(model).__name__,
                    part=f"{part!r}",
                ),
                Sentence("choose-of-known", "Choose of %(known)s.", known=", ".join(known)),
            )
    return lambda name: any(f".{part}." in f".{name}" for part in parts)


def _last(model: PreTrainedModel, count: int) -> tuple[str, ...]:
    """The full names of the last blocks."""
    blocks = _blocks(model)
    if count > len(blocks):
        raise bad(
            Sentence(
                "too-many-layers",
                "layers is %(count)s, but %(name)s has %(blocks)s blocks.",
                count=count,
                name=type(model).__name__,
                blocks=len(blocks),
            ),
            Sentence("fewer-layers", "Ask for %(most)s or fewer, or name parts.", most=len(blocks)),
        )
    return tuple(blocks[-count:])


def _blocks(model: PreTrainedModel) -> list[str]:
    text: Any = model.config.get_text_config()
    lists = ((name, part) for name, part in model.named_modules() if isinstance(part, nn.ModuleList))
    place = next((name for name, part in lists if len(part) == text.num_hidden_layers), None)
    return [] if place is None else [f"{place}.{number}" for number in range(text.num_hidden_layers)]
