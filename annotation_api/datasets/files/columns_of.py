"""A table that pandas saved as one object: by columns, by index, split, or as a list for each column."""

from __future__ import annotations

from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import Refused

ASKS = frozenset({b"prompt", b"instruction", b"question", b"query", b"input", b"text", b"conversations", b"messages"})


def columns(value: dict[str, Any]) -> list[dict[str, Any] | Refused] | None:
    """pandas' `to_json` by columns or split, as rows; None for an object that is no table."""
    if set(value) >= {"columns", "data"} and isinstance(value["columns"], list) and isinstance(value["data"], list):
        return [_split_row(value["columns"], cells) for cells in value["data"]]
    parts = list(value.values())
    if not parts or any(not isinstance(part, dict) or not part for part in parts):
        return _lists(value)
    if all(key.isdigit() for key in value):  # by index: each part is a row
        return parts
    index = list(parts[0])
    if len(parts) < 2 or any(list(part) != index for part in parts):
        return None
    if not all(key.isdigit() for key in index) and any(isinstance(cell, dict) for cell in parts[0].values()):
        return None
    return [{name: part[key] for name, part in value.items()} for key in index]


def _lists(value: dict[str, Any]) -> list[dict[str, Any] | Refused] | None:
    """A list for each column, of which one asks something, all of one length."""
    lists = [part for part in value.values() if isinstance(part, list)]
    asks = any(
        name.encode() in ASKS and isinstance(part, list) and all(isinstance(cell, str) for cell in part)
        for name, part in value.items()
    )
    if len(lists) < max(2, len(value)) or not asks or len({len(part) for part in lists}) != 1:
        return None
    if any(isinstance(cell, dict) for part in lists for cell in part[:1]):  # chats: messages of one row
        return None
    return [dict(zip(value, cells, strict=True)) for cells in zip(*lists, strict=True)]


def _split_row(names: list[Any], cells: Any) -> dict[str, Any] | Refused:
    if not isinstance(cells, list) or len(cells) != len(names):
        return Refused(
            "data", Sentence("list-of-cells", "must be a list of %(names)s cells, as `columns` has", names=len(names))
        )
    return {str(name): cell for name, cell in zip(names, cells, strict=True)}
