"""A model folder as the model library sees it: a private copy with the files that passed, and no others.

A library that is given the folder itself also reads whatever else lies there, and reads it after it was checked.
Here it is given a folder of its own: settings and vocabularies written as they were checked, weights as links to
descriptors that were open when their headers were. What happens to the folder meanwhile changes nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from alignment.models.library import parts_of
from alignment.shared.errors import BadInput, StageError
from alignment.shared.sentence import Sentence
from alignment.untrusted import json as safe_json
from alignment.untrusted.files import UnsafeModel
from alignment.untrusted.folder import CONFIG, GENERATION, INDEX, SafeFolder, inspect, require_tokenizer
from alignment.untrusted.weight_files import open_weights

NUMBER_TYPES = frozenset({"dtype", "torch_dtype"})
STRUCTURED = ("per_layer_config", "rope_parameters", "rope_scaling")  # read by all configs, declared by few

# What loading libraries raise for a folder that says what cannot be; torch asserts that a padding id is a known one.
FAULTS = (
    *(OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, AssertionError),
    *(SafetensorError, StrictDataclassError),
)


class FolderPart(Enum):
    """What is seen of a folder beside its settings."""

    CONFIG = "config"
    TOKENIZER = "tokenizer"
    WEIGHTS = "model"
    ADAPTERS = "adapter"


@contextmanager
def opened(folder: Path, part: FolderPart) -> Iterator[Path]:
    """A folder to load `part` from; every fault of it becomes BadInput with one sentence."""
    with tempfile.TemporaryDirectory(prefix="rankloop-model-") as name, ExitStack() as descriptors:
        view = Path(name)
        with readable(folder, part.value, seen=view):
            _fill(view, inspect(folder), part, descriptors)
            yield view


@contextmanager
def readable(folder: Path, what: str, *, seen: Path | None = None) -> Iterator[None]:
    """Turn what a loading library raises for a damaged or foreign folder into one sentence; `seen`: its view."""
    try:
        yield
    except UnsafeModel as error:
        raise bad(
            Sentence("folder-unusable", "%(folder)s cannot be used: %(cause)s", folder=folder, cause=error.cause),
            error.next_step,
        ) from error  # of whatever part it speaks
    except FAULTS as error:
        first = _told(error)
        told = first.replace(str(seen), str(folder)) if seen else first
        raise bad(
            Sentence(
                "part-unreadable",
                "The %(what)s in %(folder)s cannot be read: %(told)s",
                what=what,
                folder=folder,
                told=told,
            ),
            Sentence("save-as-safetensors", "Save it again; weights as safetensors."),
        ) from error


def _told(error: Exception) -> str:
    """What is wrong: the last line of a check of the config, which begins with the name of the check."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, KeyError) and " " not in lines[0]:  # a name alone
        return f"it names {lines[0][:200]}, which the library does not know"
    return (lines[-1] if isinstance(error, StrictDataclassError) else lines[0]).strip()[:300]


def bad(cause: str, next_step: str) -> StageError:
    return BadInput(cause, next_step)


def known(values: Mapping[str, Any], kind: type[PretrainedConfig]) -> dict[str, Any]:
    """The settings that a config of this kind declares, and undeclared ones that are a plain number or text.

    The library makes an attribute of every other one too, even of one that is named as its own methods.
    """
    declared = {field.name for field in fields(kind)}.union(kind.attribute_map, STRUCTURED)
    kept = {key: value for key, value in values.items() if key in declared or _is_harmless(key, value, kind)}
    for key, part in parts_of(kind).items():
        if isinstance(kept.get(key), dict) and issubclass(part, PretrainedConfig):
            kept[key] = known(kept[key], part)
    return kept


def _is_harmless(key: str, value: Any, kind: type[PretrainedConfig]) -> bool:
    return safe_json.is_plain(value) and key != "_name_or_path" and not callable(getattr(kind, key, None))


def _fill(view: Path, safe: SafeFolder, part: FolderPart, descriptors: ExitStack) -> None:
    for name, values in safe.settings.items():
        (view / name).write_text(json.dumps(_written(name, values)), "utf-8")
    if part is FolderPart.TOKENIZER:
        require_tokenizer(safe)
        for name in safe.vocabularies:
            (view / name).write_bytes(safe.read(name))
    elif part is not FolderPart.CONFIG:
        for name, descriptor in open_weights(safe, descriptors, adapters=part is FolderPart.ADAPTERS).items():
            (view / name).symlink_to(f"/dev/fd/{descriptor}")


def _written(name: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings as the library may have them; those checks that need its classes are made here."""
    if name == INDEX:  # what it says beside the places is the library's own to use
        return {**values, "metadata": values["metadata"] if isinstance(values.get("metadata"), dict) else {}}
    if name == GENERATION:
        return {key: value for key, value in values.items() if safe_json.is_plain(value)}
    model_type = values.get("model_type")
    if name == CONFIG and isinstance(model_type, str) and model_type in CONFIG_MAPPING:
        return _with_plain_types(known(values, CONFIG_MAPPING[model_type]))
    return values


def _with_plain_types(values: dict[str, Any]) -> dict[str, Any]:
    """Number types as the library reads them: `torch.bfloat16` by its name alone; `auto`, and one for each part, which
    it does not read from a file, by the weights."""
    kept = dict(values)
    for name in NUMBER_TYPES & kept.keys():
        if isinstance(kept[name], str) and kept[name] != "auto":
            kept[name] = kept[name].removeprefix("torch.")
        else:
            del kept[name]
    return {key: _with_plain_types(part) if isinstance(part, dict) else part for key, part in kept.items()}
