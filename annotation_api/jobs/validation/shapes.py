"""How large a model is, read off its folder: weights by the headers of its files, widths by config.json.

No weight is read and no model library loaded.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from alignment.shared.memory import ModelShape
from alignment.untrusted.adapters import base_of
from alignment.untrusted.families import POSITIONS, ends_sublayer, rescaled
from alignment.untrusted.folder import ADAPTER, ADAPTER_WEIGHTS

MOST_HEADER = 2**26  # bytes
NUMBERED = re.compile(r"\.\d+\.")  # of a tensor in a block
NAMES = {  # of the same thing in different families
    "width": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "vocabulary": ("vocab_size",),
}
CONTEXT = (*POSITIONS, "n_positions")  # the same, where it is bounded


def shape_of(folder: Path) -> ModelShape | None:
    """None where the folder does not say. Of adapters, the model under them with their own size beside it."""
    if (base := adapters_of(folder)) is not None:
        under, own = shape_of(base), _size(folder)
        return replace(under, adapters=own) if under and own else None
    try:
        tensors = [tensor for file in sorted(folder.glob("*.safetensors")) for tensor in _tensors(file)]
        config = json.loads((folder / "config.json").read_text("utf-8"))
        facts = {name: _number(config, keys) for name, keys in NAMES.items()}
        facts["context"] = max(0, _found(config, CONTEXT) or 0)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if not tensors:
        return None
    weights = sum(math.prod(shape) for _, shape in tensors)
    linear = sum(sum(shape) for name, shape in tensors if len(shape) == 2 and _is_linear(name))
    return ModelShape(weights, linear, **facts, **_parts(tensors, facts["layers"]))


def _parts(tensors: list[tuple[str, list[int]]], layers: int) -> dict[str, int]:
    """What the light methods train of it."""
    flat = [(name, shape) for name, shape in tensors if len(shape) == 2]
    sizes = [(name, math.prod(shape)) for name, shape in tensors]
    axis = {"output": 0, "input": -1}  # of a weight `(O, I)`, along which IA3 has factors
    return {
        "block": sum(size for name, size in sizes if NUMBERED.search(name)) // max(1, layers),
        "biases": sum(size for name, size in sizes if name.endswith("bias")),
        "rescaled": sum(
            shape[axis[where]] for name, shape in flat if (where := rescaled(name.removesuffix(".weight")))
        ),
        "ends": sum(ends_sublayer(name.removesuffix(".weight")) for name, _ in flat),
    }


def adapters_of(folder: Path) -> Path | None:
    """The folder of the model that the adapters in `folder` stand on; None where it holds a whole model."""
    try:
        return base_of(folder, json.loads((folder / ADAPTER).read_text("utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def trained_in_bits(folder: Path) -> int | None:
    """In how many bits the base under the adapters in `folder` was held; None: as it is."""
    try:
        found: int | None = json.loads((folder / "config.json").read_text("utf-8")).get("trained_in_bits")
    except (OSError, ValueError, AttributeError):
        return None
    return found


def _size(folder: Path) -> int:
    """Numbers in the adapters of a folder; 0 where they cannot be read."""
    try:
        return sum(math.prod(shape) for _, shape in _tensors(folder / ADAPTER_WEIGHTS))
    except (OSError, ValueError, TypeError, KeyError):
        return 0


def _tensors(file: Path) -> list[tuple[str, list[int]]]:
    """Names and shapes in a safetensors file: 8 bytes of length, then JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= MOST_HEADER:
            raise ValueError(f"{file.name} has no header")
        header = json.loads(stream.read(length))
    return [(name, entry["shape"]) for name, entry in header.items() if name != "__metadata__"]


def _is_linear(name: str) -> bool:
    """By the name: neither the token table nor the output that goes with it."""
    return not any(part in name for part in ("embed", "wte", "wpe", "lm_head", "score"))


def _number(config: dict[str, Any], keys: tuple[str, ...]) -> int:
    if (found := _found(config, keys)) is None:
        raise KeyError(keys[0])
    return found


def _found(config: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    """The first of the keys that stands in the config, or in the part that describes its texts."""
    parts = (config, config.get("text_config") or {})
    return next((int(part[key]) for part in parts for key in keys if isinstance(part.get(key), int)), None)
