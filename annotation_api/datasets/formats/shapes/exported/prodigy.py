"""Prodigy's choices: options of a prompt, and which were accepted. Of two that it compares it names no better one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alignment.shared.records import Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, by_groups
from annotation_api.datasets.formats.serialised import prompt_from
from annotation_api.datasets.formats.shapes.unranked import response_of
from annotation_api.datasets.values import Refused, Row, as_list, as_object, optional_text

ASKED = ("prompt", "question", "instruction", "text", "input", "messages")
ANSWERS = frozenset({"accept", "reject", "ignore"})
PAIRS = (("A", "B"), ("accept", "reject"))


def speaks(row: Row) -> bool:
    answer = row.get("answer")
    return isinstance(answer, str) and answer in ANSWERS and (_has_options(row) or _compared(row) is not None)


def _has_options(row: Row) -> bool:
    return isinstance(row.get("options"), list) and bool(row["options"]) and isinstance(row.get("accept"), list)


def _compared(row: Row) -> tuple[str, str] | None:
    return next((pair for pair in PAIRS if all(isinstance(row.get(name), dict) for name in pair)), None)


def ranking(row: Row) -> Made:
    """Every accepted option is better than every other; more is not said."""
    if not _has_options(row):
        raise Refused(
            "answer",
            Sentence(
                "prodigy-compare",
                "says of a comparison that it was accepted, not which text won: save the better text as chosen and the "
                "other as rejected",
            ),
        )
    options = [as_object(item, f"options[{i}]") for i, item in enumerate(row["options"])]
    texts = [response_of(item, f"options[{i}]") for i, item in enumerate(options)]
    taken = {str(key) for key in as_list(row["accept"], "accept")}
    better = tuple(i for i, item in enumerate(options) if str(item.get("id")) in taken)
    worse = tuple(i for i in range(len(options)) if i not in better)
    if len(better) != len(taken) or not better or not worse:
        raise Refused(
            "accept",
            Sentence(
                "prodigy-accept", "must name some of the options, and not all: else nothing is better than another"
            ),
        )
    who = optional_text(row, "_annotator_id", "_session_id") or None
    yield from by_groups(_prompt(row), texts, (better, worse), "options", annotator=who)


def prompt(row: Row) -> Iterator[Prompt]:
    yield _prompt(row)


def _prompt(row: Row) -> Prompt:
    name = next((name for name in ASKED if row.get(name) is not None), "prompt")
    value: Any = row.get(name)
    return prompt_from(value.get("text") if isinstance(value, dict) else value, name)
