"""Two responses in columns of their own and a word for the winner: what people's own tables and judging tools hold.

    prompt, response_a, response_b, winner          A | B | tie | response_a | model_b | ...

A number says which side was meant only where the columns are numbered: 1 and 2 beside response_1 and response_2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from alignment.shared.records import Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, by_scores
from annotation_api.datasets.formats.shapes.chats import asked_in, instruction
from annotation_api.datasets.values import Refused, Row, first_of, optional_text, show, text

SIDES = tuple(
    (f"{name}{gap}{a}", f"{name}{gap}{b}")
    for name in ("response", "answer", "completion", "output", "text", "option", "candidate")
    for gap in ("_", "", " ")
    for a, b in (("a", "b"), ("A", "B"), ("1", "2"), ("0", "1"))
)
VERDICTS = (
    "winner",
    "preference",
    "preferred",
    "verdict",
    "choice",
    "better",
    "best",
    "chosen",
    "judgement",
    "judgment",
    "overall_response",  # Align-Anything
    "label",  # where it is a word: a number can count from 0 or from 1
)
TIES = frozenset({"tie", "tied", "equal", "same", "both", "draw", "平局", "一样"})
BOTH_BAD = frozenset({"both_bad", "bothbad", "both bad", "tie (bothbad)", "neither"})
_WHICH = re.compile(
    r"(?:model|response|answer|completion|output|text|option|candidate)?[ _-]?([ab012])(?: is better| wins|更好)?",
    re.IGNORECASE,
)
_BETTER = re.compile(r"\W*([ab012])\s*(>{1,2}|<{1,2}|=)\s*([ab012])\W*")  # Arena-Hard's A>>B
COUNTS = Sentence(
    "label-counts",
    "is a number, which can count from 0 or from 1: save it as a column `winner` with the name of the better response",
)
_NAMES = ("model_a", "model_b")


def columns(row: Row) -> tuple[str, str] | None:
    return next((pair for pair in SIDES if all(row.get(name) is not None for name in pair)), None)


def speaks(row: Row) -> bool:
    """Whether a prompt, two responses and a word for the winner stand in columns."""
    return asked_in(row) is not None and columns(row) is not None and any(name in row for name in VERDICTS)


def prompt(row: Row) -> Iterator[Prompt]:
    yield instruction(row)


def ranking(row: Row) -> Made:
    names = columns(row)
    if names is None:
        raise Refused(
            "response_a",
            Sentence("missing-two-responses", "missing; two responses are needed, such as response_a and response_b"),
        )
    sides = (text(row, names[0]), text(row, names[1]))
    field = first_of(row, VERDICTS)
    if field == "label" and str(row[field]).strip().isdigit():
        raise Refused(field, COUNTS)
    said = _named(row, row[field]) or lead(row[field], names)
    if said is None:
        raise Refused(
            field,
            Sentence(
                "say-which-better",
                "must say which response is better, %(which)s or tie, it is %(row)s",
                which=", ".join(_marks(names)).upper(),
                row=show(row[field]),
            ),
        )
    annotator = optional_text(row, "annotator", "judge", "worker", "evaluator") or None
    yield from by_scores(instruction(row), sides, (said[0], 0.0), field, annotator=annotator, all_bad=said[1])


def _marks(names: tuple[str, str]) -> tuple[str, str]:
    return names[0][-1].lower(), names[1][-1].lower()


def _named(row: Row, value: object) -> tuple[float, bool] | None:
    """A winner by the name of its model, where the two have names that differ."""
    models = [row.get(name) for name in _NAMES]
    if not isinstance(value, str) or value not in models or models[0] == models[1]:
        return None
    return (1.0 if value == models[0] else -1.0), False


def lead(value: object, names: tuple[str, str]) -> tuple[float, bool] | None:
    """How far the first of two columns leads, and whether both were called bad; None where no side is named."""
    said = (
        str(value).strip().strip("[]").lower() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    )
    if said in TIES or said in BOTH_BAD:
        return 0.0, said in BOTH_BAD
    marks = _marks(names)
    if (both := _BETTER.fullmatch(said)) and {both[1], both[3]} == set(marks):
        sign = 1.0 if both[1] == marks[0] else -1.0
        return {">": sign, "<": -sign, "=": 0.0}[both[2][0]], False
    which = _WHICH.fullmatch(said)
    if which is None or which[1].lower() not in marks:
        return None
    return (1.0 if which[1].lower() == marks[0] else -1.0), False
