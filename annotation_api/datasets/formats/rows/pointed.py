"""Pairs whose `chosen` and `rejected` are no texts but say which other field holds each: by name, letter or model.

prompt, response_a, response_b, chosen, rejected          chosen is response_a, or A, or the name in model_a
"""

from __future__ import annotations

from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.shapes import sides
from annotation_api.datasets.formats.shapes.chats import INSTRUCTION
from annotation_api.datasets.formats.shapes.unranked import LISTS
from annotation_api.datasets.values import Refused

PAIR = ("chosen", "rejected")
LONGEST = 200  # characters of the name of a column or a model
MODELS = ("model_a", "model_b")


def resolved(row: dict[str, Any]) -> dict[str, Any]:
    """The row with the texts that are meant; any other as it stands."""
    said = [row.get(name) for name in PAIR]
    if not all(_is_word(value) for value in said) or said[0] == said[1]:
        return row
    columns = _columns(row, [str(value).strip() for value in said])
    if columns is not None:
        rest = {name: value for name, value in row.items() if name not in columns}
        return rest | {name: row[column] for name, column in zip(PAIR, columns, strict=True)}
    _refuse_places(row, said)
    return row


def _is_word(value: object) -> bool:
    """Whether it is short enough to be a name, and no flag."""
    return isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) <= LONGEST


def _columns(row: dict[str, Any], said: list[str]) -> list[str] | None:
    """The fields that the two words name."""
    asks = {*PAIR, *INSTRUCTION}
    if all(word in row and word not in asks and isinstance(row[word], str | list | dict) for word in said):
        return said
    two = sides.columns(row)
    if two is None:
        return None
    models = [row.get(name) for name in MODELS]
    if sorted(map(str, models)) == sorted(said):
        return [two[models.index(word)] for word in said]
    leads = [sides.lead(word, two) for word in said]
    if any(lead is None or lead[0] == 0 for lead in leads) or leads[0] == leads[1]:
        return None
    return [two[0] if lead is not None and lead[0] > 0 else two[1] for lead in leads]


def _refuse_places(row: dict[str, Any], said: list[Any]) -> None:
    """Two numbers beside a list of responses are places in it, which can count from 0 or from 1."""
    listed = next((row[name] for name in LISTS if isinstance(row.get(name), list)), None)
    if listed and all(str(value).strip().isdigit() for value in said) and not any(value in listed for value in said):
        raise Refused(
            "chosen",
            Sentence(
                "chosen-place",
                "is the place of a response in a list, which can count from 0 or from 1: save the texts themselves as "
                "chosen and rejected",
            ),
        )
