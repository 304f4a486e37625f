"""Responses in columns of their own, as people's own tables have them, with a number for each or an order in words.

prompt, response_1, response_2, response_3, rank_1, rank_2, rank_3        also score_1, response_1_rating
prompt, response_1, response_2, response_3, ranking                       2 > 1 = 3
"""

from __future__ import annotations

import re

from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.shapes import sides
from annotation_api.datasets.formats.shapes.chats import INSTRUCTION
from annotation_api.datasets.formats.shapes.unranked import mark_of, response_columns
from annotation_api.datasets.values import Refused, Row, as_number, as_text

ORDERS = ("ranking", "order", "rank")
_NUMBER = re.compile(r"(?:(?:response|answer|completion|output)[ _.-]?)?(?:(\d{1,2}|[a-h])[ _.-])?"
                     r"(rank|score|rating|reward)(?:[ _.-]?(\d{1,2}|[a-h]))?", re.IGNORECASE)  # fmt: skip
_PART = re.compile(r"\s*(?:response|answer|completion|output)?[ _.-]?(\d{1,2}|[a-h])\s*", re.IGNORECASE)


def speaks(row: Row) -> bool:
    """Whether a prompt and several responses stand in columns, and what orders all of them."""
    asked = any(row.get(name) is not None for name in INSTRUCTION)
    if not asked or len(response_columns(row)) < 2 or sides.speaks(row):
        return False
    return _order_in(row) is not None or bool(_numbers_in(row))


def texts_and_scores(row: Row) -> tuple[list[str], list[float], str]:
    """The responses, the higher the better, and the field that says so."""
    names = response_columns(row)
    texts = [as_text(row[name], name) for name in names]
    marks = [mark_of(name) for name in names]
    field = _order_in(row)
    if field is not None:
        places = _places(str(row[field]), field)
        if set(places) != set(marks):
            raise Refused(field, Sentence("order-of-all", "must order every response, such as 2 > 1 = 3"))
        return texts, [places[mark] for mark in marks], field
    found = _numbers_in(row)
    sign = -1 if "rank" in next(iter(found.values())).lower() else 1
    return texts, [sign * as_number(row[found[mark]], found[mark]) for mark in marks], found[marks[0]]


def _order_in(row: Row) -> str | None:
    return next((name for name in ORDERS if isinstance(row.get(name), str) and ">" in row[name]), None)


def _places(said: str, field: str) -> dict[str, float]:
    """Each response by its mark, the higher the better."""
    found: dict[str, float] = {}
    for place, group in enumerate(said.split(">")):
        for part in group.split("="):
            mark = _PART.fullmatch(part)
            if mark is None or mark[1].lower() in found:
                raise Refused(field, Sentence("order-of-all", "must order every response, such as 2 > 1 = 3"))
            found[mark[1].lower()] = -float(place)
    return found


def _numbers_in(row: Row) -> dict[str, str]:
    """For each response the column of its number; empty where one has none, or where they are of several kinds."""
    found: dict[str, dict[str, str]] = {}
    for name in row:
        said = _NUMBER.fullmatch(name.strip()) if isinstance(name, str) else None
        if said is not None and (mark := said[1] or said[3]) and not (said[1] and said[3]):
            found.setdefault(said[2].lower(), {})[mark.lower()] = name
    marks = {mark_of(name) for name in response_columns(row)}
    whole = [columns for columns in found.values() if marks <= columns.keys()]
    return whole[0] if whole else {}
