"""Chats whose items are no turns, as the turns that they are: exchanges of a question with its answer (Firefly, MOSS,
Capybara, COIG), and texts of the user and the assistant in turn (LIMA, UltraChat)."""

from __future__ import annotations

from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.shapes.chats import CHAT

SIDES = (
    ("human", "assistant"), ("user", "assistant"), ("input", "output"), ("question", "answer"),
    ("prompt", "response"), ("instruction", "output"), ("human", "gpt"), ("query", "response"),
)  # fmt: skip
IN_TURN = Sentence(
    "note-texts-in-turn", "chats that are lists of texts were read as the user and the assistant in turn"
)
TEXTS = (*CHAT, "data")  # `data`: UltraChat's


def parted(row: dict[str, Any]) -> dict[str, Any]:
    """The row with a turn for each side of an exchange; what else an exchange holds stays with its question."""
    names = [name for name in CHAT if isinstance(row.get(name), list) and row[name]]
    sides = {name: pair for name in names if (pair := _sides_of(row[name])) is not None}
    return row | {name: _turns(row[name], *pair) for name, pair in sides.items()}


def is_in_turn(row: dict[str, Any]) -> bool:
    """Whether a chat is a list of texts, two at least, and nothing else of the row could be one."""
    found = [name for name in TEXTS if row.get(name) not in (None, "", [])]
    return len(found) == 1 and _are_texts(row[found[0]])


def in_turn(row: dict[str, Any]) -> dict[str, Any]:
    """Such a row with its texts as turns."""
    name = next(name for name in TEXTS if row.get(name) not in (None, "", []))
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(row[name])]
    return {other: value for other, value in row.items() if other != name} | {"conversations": turns}


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(item, str) for item in value)


def _sides_of(items: list[Any]) -> tuple[str, str] | None:
    """The names of question and answer, where every item has both and nobody's role."""
    if not all(isinstance(item, dict) and not {"role", "from"} & item.keys() for item in items):
        return None
    return next((pair for pair in SIDES if all(item.keys() >= set(pair) for item in items)), None)


def _turns(items: list[dict[str, Any]], asks: str, answers: str) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for item in items:
        rest = {name: value for name, value in item.items() if name not in (asks, answers)}
        turns += [rest | {"role": "user", "content": item[asks]}, {"role": "assistant", "content": item[answers]}]
    return turns
