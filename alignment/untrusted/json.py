"""What the JSON of a model folder may say: nothing that runs, imports or fetches code, no numbers beyond reason.

The model library reads these files key by key, and some keys make it load Python files, import packages or
fetch kernels from a hub. Those keys are refused by name, at any depth, in every file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from alignment.shared.sentence import Sentence
from alignment.untrusted.files import UnsafeModel, no_stand_in

MAX_DEPTH = 32
MAX_NUMBER = 2**53  # in a config; a tokenizer's "no limit" is 1e30

_CODE = Sentence("names-own-code", "names code of the model's own")
_IMPORTS = Sentence("names-a-package", "names a package to import")
_FETCHES = Sentence("fetches-code", "fetches code from a hub")
_QUANTIZED = Sentence("says-quantized", "says that the weights are quantized, which cannot be trained here")
_WHOLE = Sentence("give-unquantized", "Give the model in float32, float16 or bfloat16, from which it was quantized.")
_REMOVE = Sentence("remove-if-known", "Remove it, if the library knows the model by itself.")
_ELSEWHERE = Sentence("points-elsewhere", "points to other files")
NEVER = {
    "auto_map": _CODE,
    "custom_pipelines": _CODE,
    "custom_generate": _CODE,
    "trust_remote_code": _CODE,
    "auto_mapping": _IMPORTS,
    "parent_library": _IMPORTS,
    "megatron_config": _IMPORTS,
    "kernel_config": _FETCHES,
    "use_kernels": _FETCHES,
    "hub_kernels": _FETCHES,
    "use_timm_backbone": _FETCHES,
    "use_pretrained_backbone": _FETCHES,
    "quantization_config": _QUANTIZED,
    "compression_config": _QUANTIZED,
    "transformers_weights": _ELSEWHERE,
    "configuration_files": _ELSEWHERE,
    "gguf_file": _ELSEWHERE,
}
_NUMBERS = ("float32", "float16", "bfloat16", "float64", "auto")
CHOICES = {
    "attn_implementation": ("eager", "sdpa"),  # another is a kernel, perhaps one from a hub
    "experts_implementation": ("eager", "batched_mm", "grouped_mm"),
    "dtype": _NUMBERS,
    "torch_dtype": _NUMBERS,
    "megatron_core": ("megatron.core",),  # what PEFT writes; used with megatron_config alone
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
_TYPE = re.compile(r"[a-z0-9_.-]{0,99}", re.ASCII)
_TOKENIZER = re.compile(r"[A-Za-z0-9_]{0,80}(Tokenizer|TokenizerFast|Backend)", re.ASCII)
FORMS = {"architectures": _NAME, "model_type": _TYPE, "tokenizer_class": _TOKENIZER}
PATHS = re.compile(r"(vocab|merges|tokenizer|spm|sentencepiece_model|added_tokens)_file")  # a tokenizer's own


def parse(name: str, data: bytes) -> dict[str, Any]:
    """The object in a JSON file of that name; UnsafeModel for anything else."""
    no_stand_in(name, data[:100])
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UnsafeModel(
            Sentence("unsafe-cannot-be-read-as", "%(name)s cannot be read as JSON: %(error)s.", name=name, error=error),
            Sentence("unsafe-save-model-again", "Save the model again."),
        ) from None
    if not isinstance(value, dict):
        raise UnsafeModel(
            Sentence("unsafe-must-hold-json-object", "%(name)s must hold a JSON object.", name=name),
            Sentence("unsafe-save-model-again", "Save the model again."),
        )
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:80]!r} stands in it twice")
    return values


def check(name: str, values: Mapping[str, Any], *, config: bool) -> None:
    """Refuse what must not stand in the file of that name; `config`: its numbers become sizes."""
    for key, value in list(_pairs(name, values, 0)):  # all of them first: nothing is nested deeper than allowed
        _check_pair(name, key, value)
        if config and isinstance(value, int) and abs(value) > MAX_NUMBER:
            told = f"{key[:80]!r} = {str(value)[:40]}"
            raise UnsafeModel(
                Sentence("unsafe-number", "%(name)s says %(told)s.", name=name, told=told),
                Sentence("unsafe-no-such-number", "No model has such a number; save the model again."),
            )


def is_plain(value: Any) -> bool:
    """A value that cannot hide anything: a number, a text, or a list of such."""
    scalars = value if isinstance(value, list) else [value]
    return all(item is None or isinstance(item, str | int | float) for item in scalars)


def _says(name: str, key: str, item: object) -> Sentence:
    return Sentence("unsafe-choice", "%(name)s says %(key)s = %(item)s.", name=name, key=key, item=repr(str(item)[:80]))


def _check_pair(name: str, key: str, value: Any) -> None:
    bare = key.strip("_").removesuffix("_internal")
    if bare in NEVER and value is not None and value is not False:
        then = _WHOLE if NEVER[bare] == _QUANTIZED else _REMOVE
        raise UnsafeModel(
            Sentence("unsafe-setting", "%(name)s %(what)s (%(key)s).", name=name, what=NEVER[bare], key=key), then
        )
    if bare in CHOICES:
        for item in _leaves(value):
            if str(item).removeprefix("torch.") not in CHOICES[bare]:
                allowed = ", ".join(CHOICES[bare])
                then = Sentence("unsafe-remove-allowed", "Remove it; allowed: %(allowed)s.", allowed=allowed)
                raise UnsafeModel(_says(name, key, item), then)
    if bare in FORMS:
        for item in _leaves(value):
            if not isinstance(item, str) or not FORMS[bare].fullmatch(item):
                then = Sentence("unsafe-name-class-type-library", "Name a class or type of the library.")
                raise UnsafeModel(_says(name, key, item), then)
    if PATHS.fullmatch(bare) and isinstance(value, str) and not re.fullmatch(r"[\w.-]+", value):
        raise UnsafeModel(
            Sentence(
                "unsafe-points-elsewhere",
                "%(name)s %(elsewhere)s (%(key)s = %(value)s).",
                name=name,
                elsewhere=_ELSEWHERE,
                key=key,
                value=repr(value[:80]),
            ),
            Sentence("unsafe-remove-line", "Remove that line."),
        )


def _pairs(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    if depth > MAX_DEPTH:
        raise UnsafeModel(
            Sentence(
                "unsafe-nested-more-than-deep",
                "%(name)s is nested more than %(max_depth)s deep.",
                name=name,
                max_depth=MAX_DEPTH,
            ),
            Sentence("unsafe-save-model-again", "Save the model again."),
        )
    if isinstance(value, dict):
        yield from value.items()
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _pairs(name, item, depth + 1)


def _leaves(value: Any) -> Iterator[Any]:
    """The single values of a value, a list or an object; None says nothing."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    elif value is not None:
        yield value
