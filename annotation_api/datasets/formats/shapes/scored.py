"""K responses of one prompt with a rank or a score each: UltraFeedback, Nectar, Stack Exchange, distilabel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alignment.shared.records import Prompt
from annotation_api.datasets.formats.orders import Made, by_scores
from annotation_api.datasets.formats.serialised import prompt_from
from annotation_api.datasets.formats.shapes.chats import INSTRUCTION, alpaca_prompt
from annotation_api.datasets.formats.shapes.unranked import LISTS, response_of
from annotation_api.datasets.values import Refused, Row, as_list, as_number, as_object, as_text, first_of

SCORES = ("ratings", "rating", "scores", "score", "rewards")  # one a response, the higher the better
GRADES = ("overall_score", "fine-grained_score", "score", "rating")  # of one of `completions`
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
    """Stack Exchange's `answers`, ordered by `pm_score`."""
    items = _items(row, "answers")
    texts = [as_text(item.get("text"), f"answers[{i}].text") for i, item in enumerate(items)]
    scores = [as_number(item.get("pm_score"), f"answers[{i}].pm_score") for i, item in enumerate(items)]
    yield from by_scores(_asked(row), texts, scores, "answers")


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
        raise Refused(name, f"holds {len(given)} numbers for {len(texts)} {listed}; one for each is needed")
    sign = -1 if name in RANKS else 1
    scores = [sign * as_number(value, f"{name}[{i}]") for i, value in enumerate(given)]
    yield from by_scores(_asked(row), texts, scores, name)


def asked_prompt(row: Row) -> Iterator[Prompt]:
    yield _asked(row)


def _asked(row: Row) -> Prompt:
    name = first_of(row, (*INSTRUCTION, "input"))
    return prompt_from(row[name], name)
