"""Whether weights have the sizes that the settings beside them say: room is made by these before anything is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from alignment.shared.sentence import Sentence
from alignment.untrusted.files import UnsafeModel

WIDTHS = ("hidden_size", "n_embd", "d_model")
COUNTS = re.compile(r"vocab_size|n_layers?|num_(hidden_)?layers|(num|n)_\w*experts")


def check_soft_prompt(file: str, values: Mapping[str, Any], total: int) -> None:
    """As many numbers as the weights hold: it is made before they are read."""
    if not isinstance(tokens := values.get("num_virtual_tokens"), int):
        return
    sides = (2, values.get("num_layers")) if values["peft_type"] == "PREFIX_TUNING" else ()
    sides = (*sides, values.get("num_transformer_submodules") or 1)  # PEFT makes room for each
    numbers = (tokens, values.get("token_dim"), *sides)
    if not all(type(number) is int and number > 0 for number in numbers) or math.prod(numbers) != total:
        raise UnsafeModel(
            Sentence(
                "unsafe-describes-soft-prompt-another",
                "%(adapter)s describes a soft prompt of another size than its weights.",
                adapter=file,
            ),
            Sentence("unsafe-save-them-together", "Save them together."),
        )


def check_width(file: str, values: Mapping[str, Any], found: Mapping[str, int]) -> None:
    """As wide as the weights say: room is made before they are read."""
    widths = {size for name, size in found.items() if name.endswith("bottleneck_down.bias")}
    if type(values.get("width")) is not int or widths != {values["width"]}:
        raise UnsafeModel(
            Sentence(
                "unsafe-describes-adapters-another-width",
                "%(adapter)s describes adapters of another width than its weights.",
                adapter=file,
            ),
            Sentence("unsafe-save-them-together", "Save them together."),
        )


def check_sizes(file: str, config: Mapping[str, Any], total: int) -> None:
    """No more words, layers or experts than the weights have room for: each takes at least one row of the width."""
    text = config.get("text_config")
    for values in (config, text if isinstance(text, dict) else {}):
        width = next((values[name] for name in WIDTHS if type(values.get(name)) is int), 1)
        for key, value in values.items():
            if COUNTS.fullmatch(key) and type(value) is int and value * max(width, 1) > total:
                raise UnsafeModel(
                    Sentence(
                        "unsafe-says-at-width-but",
                        "%(config)s says %(key)s = %(value)s at a width of %(width)s, but the weights hold %(total)s "
                        "numbers.",
                        config=file,
                        key=key,
                        value=f"{value:,}",
                        width=f"{width:,}",
                        total=f"{total:,}",
                    ),
                    Sentence("unsafe-save-config-weights-together", "Save config and weights together."),
                )
