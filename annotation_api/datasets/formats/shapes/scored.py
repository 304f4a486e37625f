"""K responses of one prompt with a rank or a score each: UltraFeedback, Nectar, Stack Exchange, distilabel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alignment.shared.records import Message, Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, by_scores
from annotation_api.datasets.formats.serialised import prompt_from
from annotation_api.datasets.formats.shapes.chats import INSTRUCTION, SYSTEM, alpaca_prompt
from annotation_api.datasets.formats.shapes.unranked import LISTS, TEXTS, response_of
from annotation_api.datasets.values import (
    Refused,
    Row,
    as_list,
    as_number,
    as_object,
    as_text,
    first_of,
    optional_text,
    prompt_of,
)

SCORES = ("ratings", "rating", "scores", "score", "rewards")  # one a response, the higher the better
GRADES = ("overall_score", "fine-grained_score", "score", "rating")  # of one of `completions`
VOTES = ("pm_score", "score", "votes", "upvotes", "rating", "reward")  # of one of a list, the higher the better
RANKS = ("ranks", "rank")  # one a response, the lower the better


def _items(row: Row, name: str) -> list[dict[str, Any]]:
    return [as_object(item, f"{name}[{i}]") for i, item in enumerate(as_list(row.get(name), name))]


def ultrafeedback_ranking(row: Row) -> Made:
    """`completions`, ordered by their `overall_score`, or the mean of the fine-grained ones."""
    name, items = "completions", _items(row, "completions")
    graded = next((score for score in GRADES if items and score in items[0]), GRADES[0])
    texts = [as_text(item.get("response"), f"{name}[{i}].response") for i, item in enumerate(items)]
    scores = [as_number(item.get(graded), f"{name}[{i}].{graded}") for i, item in enumerate(items)]
    yield from by_scores(next(alpaca_prompt(row)), texts, scores, name)


def nectar_ranking(row: Row) -> Made:
    """`answers`, rank 1 the best."""
    items = _items(row, "answers")
    texts = [as_text(item.get("answer"), f"answers[{i}].answer") for i, item in enumerate(items)]
    scores = [-as_number(item.get("rank"), f"answers[{i}].rank") for i, item in enumerate(items)]
    yield from by_scores(_asked(row), texts, scores, "answers")


def voted_ranking(row: Row) -> Made:
    """Stack Exchange's `answers`, ordered by `pm_score`; and lists like it."""
    name, score = _voted(row)
    texts = [response_of(item, f"{name}[{i}]") for i, item in enumerate(_items(row, name))]
    scores = [as_number(item.get(score), f"{name}[{i}].{score}") for i, item in enumerate(_items(row, name))]
    yield from by_scores(_asked(row), texts, scores, name)


def is_voted(row: Row) -> bool:
    """Whether a list holds a text and a number each that is higher the better."""
    return bool(_voted(row)[1]) and any(row.get(name) is not None for name in (*INSTRUCTION, "input"))


def _voted(row: Row) -> tuple[str, str]:
    """The list, and where its items hold that number; empty where none does."""
    for name in LISTS:
        items = row.get(name)
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items):
            if not any(key in items[0] for key in TEXTS):
                continue
            found = next((score for score in VOTES if all(score in item for item in items)), None)
            if found is not None:
                return name, found
    return "", ""


def is_graded(row: Row) -> bool:
    """Whether `completions` hold a response and a score each."""
    items = row.get("completions")
    first = items[0] if isinstance(items, list) and items else None
    return isinstance(first, dict) and "response" in first and any(name in first for name in GRADES)


def is_listed(row: Row) -> bool:
    """Whether the row holds a list of responses and a score or a rank for each."""
    return any(isinstance(row.get(name), list) for name in LISTS) and any(
        isinstance(row.get(name), list) for name in (*SCORES, *RANKS)
    )


def generations_ranking(row: Row) -> Made:
    """distilabel's `generations` with a rating each, and lists like it: `ranks` count from the best."""
    listed = first_of(row, LISTS)
    texts = [response_of(item, f"{listed}[{i}]") for i, item in enumerate(as_list(row[listed], listed))]
    name = first_of(row, (*SCORES, *RANKS))
    given = as_list(row[name], name)
    if len(given) != len(texts):
        raise Refused(
            name,
            Sentence(
                "numbers-for",
                "holds %(given)s numbers for %(texts)s %(listed)s; one for each is needed",
                given=len(given),
                texts=len(texts),
                listed=listed,
            ),
        )
    sign = -1 if name in RANKS else 1
    scores = [sign * as_number(value, f"{name}[{i}]") for i, value in enumerate(given)]
    yield from by_scores(_asked(row), texts, scores, name)


def asked_prompt(row: Row) -> Iterator[Prompt]:
    yield _asked(row)


def _asked(row: Row) -> Prompt:
    name = first_of(row, (*INSTRUCTION, "input"))
    asked, system = prompt_from(row[name], name), optional_text(row, *SYSTEM)
    if not system.strip() or asked.messages[0].role == "system":
        return asked
    return prompt_of([Message(role="system", content=system), *asked.messages], name)
