"""K responses of one prompt with a rank or a score each: UltraFeedback, Nectar, Stack Exchange, distilabel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alignment.shared.records import Message, Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, by_scores
from annotation_api.datasets.formats.serialised import parsed_list, prompt_from
from annotation_api.datasets.formats.shapes import wide
from annotation_api.datasets.formats.shapes.chats import INSTRUCTION, SYSTEM, alpaca_prompt, instruction
from annotation_api.datasets.formats.shapes.unranked import LISTS, TEXTS, response_of
from annotation_api.datasets.values import (
    Note,
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
NOT_RATED = (None, "N/A", "")
BY_RATINGS = Note(
    Sentence(
        "note-responses-without-overall-score",
        "responses without an overall score were ordered by the mean of their ratings",
    )
)
RANKS = ("ranks", "rank")  # one a response, the lower the better


def _items(row: Row, name: str) -> list[dict[str, Any]]:
    return [as_object(item, f"{name}[{i}]") for i, item in enumerate(as_list(row.get(name), name))]


def ultrafeedback_ranking(row: Row) -> Made:
    """`completions`, ordered by their `overall_score`, or the mean of the fine-grained ones."""
    name, items = "completions", _items(row, "completions")
    graded = next((score for score in GRADES if items and score in items[0]), None)
    texts = [as_text(item.get("response"), f"{name}[{i}].response") for i, item in enumerate(items)]
    if graded is None and items:
        yield BY_RATINGS
        scores = [_mean_rating(item, f"{name}[{i}].annotations") for i, item in enumerate(items)]
    else:
        graded = graded or GRADES[0]
        scores = [as_number(item.get(graded), f"{name}[{i}].{graded}") for i, item in enumerate(items)]
    yield from by_scores(next(alpaca_prompt(row)), texts, scores, name)


def _mean_rating(item: dict[str, Any], field: str) -> float:
    """Of the aspects that were rated: some are N/A."""
    given = as_object(item.get("annotations"), field)
    ratings = {aspect: as_object(said, f"{field}.{aspect}").get("Rating") for aspect, said in given.items()}
    found = [
        as_number(rating, f"{field}.{aspect}.Rating") for aspect, rating in ratings.items() if rating not in NOT_RATED
    ]
    if not found:
        raise Refused(field, Sentence("no-rating-number", "holds no rating that is a number"))
    return sum(found) / len(found)


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
    rated = isinstance(first, dict) and isinstance(first.get("annotations"), dict)
    return isinstance(first, dict) and "response" in first and (rated or any(name in first for name in GRADES))


def is_listed(row: Row) -> bool:
    """Whether the row holds a list of responses, or columns of them, and a score or a rank for each."""
    listed = any(_is_list(row.get(name)) for name in LISTS) and any(
        _is_list(row.get(name)) for name in (*SCORES, *RANKS)
    )
    return listed or wide.speaks(row)


def _is_list(value: object) -> bool:
    """A list, also as JSON in a cell."""
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))


def _list_in(row: Row, name: str) -> list[Any]:
    value = row.get(name)
    return as_list(parsed_list(value, name) if isinstance(value, str) and _is_list(value) else value, name)


def listed_prompt(row: Row) -> Iterator[Prompt]:
    yield instruction(row)


def generations_ranking(row: Row) -> Made:
    """distilabel's `generations` with a rating each, and lists like it: `ranks` count from the best."""
    texts, scores, field = wide.texts_and_scores(row) if wide.speaks(row) else _texts_and_scores(row)
    annotator = optional_text(row, "annotator") or None
    yield from by_scores(instruction(row), texts, scores, field, annotator=annotator)


def _texts_and_scores(row: Row) -> tuple[list[str], list[float], str]:
    listed, name = first_of(row, LISTS), first_of(row, (*SCORES, *RANKS))
    texts = [response_of(item, f"{listed}[{i}]") for i, item in enumerate(_list_in(row, listed))]
    given = _list_in(row, name)
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
    return texts, [sign * as_number(value, f"{name}[{i}]") for i, value in enumerate(given)], name


def asked_prompt(row: Row) -> Iterator[Prompt]:
    yield _asked(row)


def _asked(row: Row) -> Prompt:
    name = first_of(row, (*INSTRUCTION, "input"))
    asked, system = prompt_from(row[name], name), optional_text(row, *SYSTEM)
    if not system.strip() or asked.messages[0].role == "system":
        return asked
    return prompt_of([Message(role="system", content=system), *asked.messages], name)
