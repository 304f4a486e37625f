"""Chats whose items are exchanges, a question with its answer, as the turns that they are: Firefly and MOSS."""

from __future__ import annotations

from typing import Any

from annotation_api.datasets.formats.shapes.chats import CHAT

SIDES = ("human", "assistant")


def parted(row: dict[str, Any]) -> dict[str, Any]:
    """The row with a turn for each side of an exchange; what else an exchange holds stays with its question."""
    names = [name for name in CHAT if isinstance(row.get(name), list) and row[name]]
    return row | {name: _turns(row[name]) for name in names if all(_is_exchange(item) for item in row[name])}


def _is_exchange(item: object) -> bool:
    return isinstance(item, dict) and item.keys() >= set(SIDES)


def _turns(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for item in items:
        rest = {name: value for name, value in item.items() if name not in SIDES}
        turns += [
            rest | {"role": "user", "content": item["human"]},
            {"role": "assistant", "content": item["assistant"]},
        ]
    return turns
