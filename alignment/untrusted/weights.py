"""The head of a safetensors file, checked before a library maps the rest.

The format: 8 bytes of length (little endian), that many bytes of JSON, then the tensors' bytes without a gap.
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, TypeGuard

from alignment.shared.sentence import Sentence
from alignment.untrusted.files import UnsafeModel, no_stand_in

QUANTIZED = ("F8", "F6", "F4", "U4", "I4")  # how types begin whose numbers mean something only times their scales
MAX_HEADER = 32 * 2**20
SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


def elements(file: str, descriptor: int) -> dict[str, int]:
    """How many numbers each tensor of an open file holds; UnsafeModel, naming `file`, for a header that is unsound."""
    no_stand_in(file, os.pread(descriptor, 100, 0))
    size = os.fstat(descriptor).st_size
    length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
    if size < 10 or length > size - 8:
        raise _broken(
            file,
            Sentence(
                "unsafe-header-bytes-does-not",
                "its header of %(length)s bytes does not fit into %(size)s",
                length=f"{length:,}",
                size=f"{size:,}",
            ),
        )
    if length > MAX_HEADER:
        raise _broken(
            file,
            Sentence(
                "unsafe-header-has-bytes-are",
                "its header has %(length)s bytes, %(max_header)s are allowed",
                length=f"{length:,}",
                max_header=f"{MAX_HEADER:,}",
            ),
        )
    header = _parse(file, os.pread(descriptor, length, 8))
    header.pop("__metadata__", None)
    spans = [_span(file, name, entry) for name, entry in header.items()]
    _require_no_gap(file, sorted(spans), size - 8 - length)
    return {name: math.prod(entry["shape"]) for name, entry in header.items()}


def _parse(file: str, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _broken(
            file, Sentence("unsafe-header-cannot-be-read", "its header cannot be read: %(error)s", error=error)
        ) from None
    if not isinstance(value, dict):
        raise _broken(file, Sentence("unsafe-header-not-json-object", "its header is not a JSON object"))
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name stands in it twice")
    return values


def _span(file: str, name: str, entry: Any) -> tuple[int, int]:
    """Where the tensor's bytes lie; their number must be what type and shape make."""
    if isinstance(entry, Mapping) and str(entry.get("dtype")).startswith(QUANTIZED):
        raise UnsafeModel(
            Sentence(
                "unsafe-quantized-tensor",
                "its weights are quantized, which cannot be trained here (%(tensor)s is %(kind)s).",
                tensor=name[:80],
                kind=str(entry["dtype"])[:20],
            ),
            Sentence(
                "give-unquantized", "Give the model in float32, float16 or bfloat16, from which it was quantized."
            ),
        )
    if not isinstance(entry, Mapping) or entry.get("dtype") not in SIZES:
        raise _broken(
            file,
            Sentence(
                "unsafe-tensor-has-no-known", "the tensor %(name)s has no known number type", name=repr(name[:80])
            ),
        )
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise _broken(
            file,
            Sentence(
                "unsafe-tensor-has-no-usable", "the tensor %(name)s has no usable shape and place", name=repr(name[:80])
            ),
        )
    begin, end = offsets
    if end - begin != math.prod(shape) * SIZES[entry["dtype"]]:
        raise _broken(
            file,
            Sentence(
                "unsafe-tensor-shape-does-not",
                "the tensor %(name)s of shape %(shape)s does not have %(end)s bytes",
                name=repr(name[:80]),
                shape=shape,
                end=f"{end - begin:,}",
            ),
        )
    return begin, end


def _are_counts(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and len(values) <= 8 and all(type(item) is int and item >= 0 for item in values)


def _require_no_gap(file: str, spans: list[tuple[int, int]], size: int) -> None:
    reached = 0
    for begin, end in spans:
        if begin != reached:
            raise _broken(
                file,
                Sentence(
                    "unsafe-tensors-overlap-leave-gap",
                    "its tensors overlap or leave a gap at byte %(min)s",
                    min=f"{min(begin, reached):,}",
                ),
            )
        reached = end
    if reached != size:
        raise _broken(
            file,
            Sentence(
                "unsafe-tensors-end-at-byte",
                "its tensors end at byte %(reached)s of %(size)s",
                reached=f"{reached:,}",
                size=f"{size:,}",
            ),
        )


def _broken(file: str, what: str) -> UnsafeModel:
    return UnsafeModel(
        Sentence(
            "unsafe-not-whole-safetensors-file",
            "%(file)s is not a whole safetensors file: %(what)s.",
            file=file,
            what=what,
        ),
        Sentence("unsafe-save-download-again", "Save or download it again."),
    )
