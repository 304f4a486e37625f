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
from annotation_api.datasets.formats.shapes.chats import INSTRUCTION, instruction
from annotation_api.datasets.values import Refused, Row, first_of, optional_text, show, text

SIDES = tuple(
    (f"{name}{gap}{a}", f"{name}{gap}{b}")
    for name in ("response", "answer", "completion", "output", "text", "option", "candidate")
    for gap in ("_", "", " ")
    for a, b in (("a", "b"), ("A", "B"), ("1", "2"))
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
)
TIES = frozenset({"tie", "tied", "equal", "same", "both", "draw", "平局", "一样"})
BOTH_BAD = frozenset({"both_bad", "bothbad", "both bad", "tie (bothbad)", "neither"})
_WHICH = re.compile(r"(?:model|response|answer|completion|output|text|option|candidate)?[ _-]?([ab12])", re.IGNORECASE)


def columns(row: Row) -> tuple[str, str] | None:
    return next((pair for pair in SIDES if all(row.get(name) is not None for name in pair)), None)


def speaks(row: Row) -> bool:
    """Whether a prompt, two responses and a word for the winner stand in columns."""
    asked = any(row.get(name) is not None for name in INSTRUCTION)
    return asked and columns(row) is not None and any(name in row for name in VERDICTS)


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
    said = lead(row[field], numbered=names[0].endswith("1"))
    if said is None:
        which = "1, 2" if names[0].endswith("1") else "A, B"
        raise Refused(
            field,
            Sentence(
                "say-which-better",
                "must say which response is better, %(which)s or tie, it is %(row)s",
                which=which,
                row=show(row[field]),
            ),
        )
    annotator = optional_text(row, "annotator", "judge", "worker", "evaluator") or None
    yield from by_scores(instruction(row), sides, (said[0], 0.0), field, annotator=annotator, all_bad=said[1])


def lead(value: object, *, numbered: bool) -> tuple[float, bool] | None:
    """How far the first leads, and whether both were called bad; None where no side is named."""
    said = str(value).strip().lower() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if said in TIES or said in BOTH_BAD:
        return 0.0, said in BOTH_BAD
    which = _WHICH.fullmatch(said)
    if which is None or (which[1] in "12") != numbered:
        return None
    return (1.0 if which[1] in "a1" else -1.0), False
