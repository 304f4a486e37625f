"""Columns by name: which column of a file holds the prompt, the answers, and what else a record takes.

    {"prompt": "Input.question", "chosen": "Answer.best", "rejected": "Answer.worst"}

A column is a field of the row, or a path of fields with dots between them.
"""

from __future__ import annotations

import json
from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.table import Format
from annotation_api.datasets.values import Refused

NEEDED = {  # a kind's fields without which nothing can be made
    "demonstrations": ("prompt", "response"),
    "conversations": ("prompt", "response"),
    "preferences": ("prompt", "chosen", "rejected"),
    "rankings": ("prompt", "chosen", "rejected"),
    "prompts": ("prompt",),
    "responses": ("prompt",),
}
SIDES = ("response_1", "response_2", "response_3", "response_4")  # where each response has a column of its own
_PAIR = ("prompt", "system", "input", "chosen", "rejected", "annotator", "weight", "margin")
_ANSWER = ("prompt", "system", "input", "response")
WANTED = {  # a kind's fields
    "demonstrations": _ANSWER,
    "conversations": _ANSWER,
    "preferences": _PAIR,
    "rankings": _PAIR,
    "prompts": ("prompt", "system", "input"),
    "responses": ("prompt", "system", "input", "responses", *SIDES),
}
MAX_COLUMN = 300  # characters of a name
Mapping = dict[str, str]


def parsed(text: str, kind: str) -> Mapping:
    """A mapping from its JSON; raises ValueError that says what is wrong with it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            Sentence("mapping-no-json", "must be a JSON object of field and column: %(error)s", error=error)
        ) from None
    if not isinstance(value, dict) or not all(isinstance(column, str) for column in value.values()):
        raise ValueError(
            Sentence("mapping-such-as", 'must be a JSON object of field and column, such as {"prompt": "Question"}')
        )
    return checked(value, kind)


def checked(mapping: Mapping, kind: str) -> Mapping:
    """The mapping without empty columns; raises ValueError when it cannot give records of this kind."""
    given = {field: column for field, column in mapping.items() if column.strip()}
    strange = [field for field in given if field not in WANTED[kind]]
    if strange:
        raise ValueError(
            Sentence(
                "mapping-no-field",
                "names %(strange)s, which is no field; the fields of %(kind)s are %(wanted)s",
                strange=f"{strange[0]!r}",
                kind=kind,
                wanted=", ".join(WANTED[kind]),
            )
        )
    if any(len(column) > MAX_COLUMN for column in given.values()):
        raise ValueError(
            Sentence(
                "mapping-column-long", "names a column of more than %(max_column)s characters", max_column=MAX_COLUMN
            )
        )
    missing = [field for field in NEEDED[kind] if field not in given]
    if missing:
        raise ValueError(
            Sentence(
                "mapping-lacks",
                "for %(kind)s lacks a column: name the column of %(missing)s",
                kind=kind,
                missing=", ".join(missing),
            )
        )
    if kind == "responses" and "responses" not in given and sum(name in given for name in SIDES) < 2:
        raise ValueError(
            Sentence(
                "mapping-lacks-responses",
                "for %(kind)s lacks the responses: name the column of their list, or two of %(sides)s",
                kind=kind,
                sides=", ".join(SIDES),
            )
        )
    return given


def layout(mapping: Mapping) -> Format:
    """The layout of a mapped row."""
    if any(name in mapping for name in ("responses", *SIDES)):
        return Format.RESPONSES
    return Format.TRL if "chosen" in mapping else Format.ALPACA


def mapped(mapping: Mapping, row: dict[str, Any]) -> dict[str, Any]:
    """The row under our own names. Refused when it has no such column."""
    return {field: _at(row, column) for field, column in mapping.items()}


def _at(row: dict[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    first, _, rest = column.partition(".")
    inner = row.get(first)
    if rest and isinstance(inner, dict):
        return _at(inner, rest)
    raise Refused(
        column,
        Sentence("no-such-column", "is no column of this row; its columns are %(row)s", row=", ".join(list(row)[:12])),
    )
