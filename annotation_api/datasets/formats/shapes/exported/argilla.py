"""Argilla 2: rankings, and questions that name one of the record's responses; one record a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alignment.shared.records import Demonstration, Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, by_scores
from annotation_api.datasets.formats.serialised import prompt_from
from annotation_api.datasets.formats.shapes.sides import columns, lead
from annotation_api.datasets.values import Note, Refused, Row, as_list, as_number, as_object, as_text

NOT_SUBMITTED = Note(
    Sentence("note-answers-were-drafts-discarded", "answers that were drafts or discarded were left out")
)
OTHER_QUESTION = Note(
    Sentence(
        "note-answers-questions-rank-nothing",
        "answers to questions that rank nothing (texts, ratings, labels) were left out",
    )
)
ASKED = ("prompt", "instruction", "question", "text", "chat", "messages", "conversation", "input", "query")
_ANSWERS = ".responses"  # behind the name of a question, where a record was exported as columns


def speaks(row: Row) -> bool:
    return isinstance(row.get("fields"), dict) and isinstance(row.get("responses"), dict)


def is_flat(row: Row) -> bool:
    """Whether a record was exported as columns: `ranking.responses` beside `ranking.responses.users`."""
    return any(isinstance(name, str) and name.endswith(_ANSWERS) and f"{name}.status" in row for name in row)


def nested(row: Row) -> Row:
    """Such a record as its other export has it."""
    if not is_flat(row):
        return row
    questions = [name for name in row if name.endswith(_ANSWERS) and f"{name}.status" in row]
    answers = {name.removesuffix(_ANSWERS): _answers(row, name) for name in questions}
    fields = {name: row[name] for name in row if "." not in name and name not in ("id", "status", "_server_id")}
    return {"fields": {name: value for name, value in fields.items() if value is not None}, "responses": answers}


def _answers(row: Row, name: str) -> list[dict[str, Any]]:
    given = [row.get(name), row.get(f"{name}.users"), row.get(f"{name}.status")]
    values, users, states = (as_list(part or [], name) for part in given)
    if not len(values) == len(users) == len(states):
        raise Refused(
            name,
            Sentence(
                "argilla-counts",
                "holds %(values)s answers of %(users)s people in %(states)s states",
                values=len(values),
                users=len(users),
                states=len(states),
            ),
        )
    return [
        {"value": value, "user_id": user, "status": state}
        for value, user, state in zip(values, users, states, strict=True)
    ]


def prompt(row: Row) -> Iterator[Prompt]:
    yield _prompt(as_object(nested(row).get("fields"), "fields"))


def ranking(row: Row) -> Made:
    """Each submitted answer that ranks fields, best first, or names the best of two."""
    row = nested(row)
    fields = as_object(row.get("fields"), "fields")
    found = 0
    for question, given in as_object(row.get("responses"), "responses").items():
        for i, item in enumerate(as_list(given, f"responses.{question}")):
            field = f"responses.{question}[{i}]"
            answer = as_object(item, field)
            if answer.get("status", "submitted") != "submitted":
                yield NOT_SUBMITTED
                continue
            order = _order(fields, answer.get("value"), f"{field}.value")
            if order is None:
                yield OTHER_QUESTION
                continue
            found += 1
            texts = [as_text(fields[name], f"fields.{name}") for name in order[0]]
            annotator = str(answer["user_id"]) if answer.get("user_id") is not None else None
            yield from by_scores(_prompt(fields), texts, order[1], field, annotator=annotator)
    if not found:
        raise Refused("responses", Sentence("no-submitted-ranking", "holds no submitted ranking"))


def is_written(row: Row) -> bool:
    """Whether one question was answered in words, and none compared the fields."""
    return len(_written(row)) == 1


def _written(row: Row) -> dict[str, list[dict[str, Any]]]:
    """The answers in words, by question."""
    row = nested(row)
    fields = as_object(row.get("fields"), "fields")
    found: dict[str, list[dict[str, Any]]] = {}
    for question, given in as_object(row.get("responses"), "responses").items():
        items = [as_object(item, question) for item in as_list(given, f"responses.{question}")]
        if items and all(isinstance(item.get("value"), str) and not columns(fields) for item in items):
            found[question] = items
    return found


def demonstrations(row: Row) -> Iterator[Demonstration | Note]:
    """One for each submitted answer."""
    ((question, items),) = _written(row).items()
    asked = _prompt(as_object(nested(row).get("fields"), "fields"))
    for i, item in enumerate(items):
        if item.get("status", "submitted") != "submitted":
            yield NOT_SUBMITTED
            continue
        yield Demonstration(prompt=asked, response=as_text(item["value"], f"responses.{question}[{i}].value"))


def _order(fields: dict[str, Any], value: object, field: str) -> tuple[list[str], list[float]] | None:
    """The names of fields with a score each; None where the answer ranks nothing."""
    if isinstance(value, str):
        return _best_of_two(fields, value)
    if not isinstance(value, list):
        return None
    names, scores = _in_order(value, field)
    if not any(isinstance(name, str) and name in fields for name in names):
        return None  # labels or spans
    if not all(isinstance(name, str) and name in fields for name in names):
        raise Refused(
            field, Sentence("must-name-fields", "must name fields of the record (%(fields)s)", fields=", ".join(fields))
        )
    return names, scores


def _best_of_two(fields: dict[str, Any], value: str) -> tuple[list[str], list[float]] | None:
    """A label that names one of the record's two responses, or says which of them is better."""
    sides = columns(fields) or (None if value not in fields else _two_beside_the_prompt(fields))
    if sides is None:
        return None
    if value in sides:
        return list(sides), [float(name == value) for name in sides]
    first = lead(value, sides)
    return None if first is None else (list(sides), [first[0], 0.0])


def _two_beside_the_prompt(fields: dict[str, Any]) -> tuple[str, str] | None:
    rest = [name for name, value in fields.items() if name != _asked_in(fields) and isinstance(value, str)]
    return (rest[0], rest[1]) if len(rest) == 2 else None


def _in_order(value: list[Any], field: str) -> tuple[list[Any], list[float]]:
    """Names, best first; or names with a rank each, 1 the best: equal ranks are a tie. With a score for each."""
    if not all(isinstance(item, dict) for item in value):
        return value, [-float(place) for place in range(len(value))]
    ranks = [as_number(item.get("rank"), f"{field}[{i}].rank") for i, item in enumerate(value)]
    order = sorted(range(len(value)), key=lambda i: ranks[i])
    return [value[i].get("value") for i in order], [-ranks[i] for i in order]


def _asked_in(fields: dict[str, Any]) -> str | None:
    return next((name for name in ASKED if fields.get(name) is not None), None)


def _prompt(fields: dict[str, Any]) -> Prompt:
    name = _asked_in(fields)
    if name is None:
        raise Refused(
            "fields", Sentence("must-hold-prompt", "must hold the prompt, under %(asked)s", asked=", ".join(ASKED))
        )
    return prompt_from(fields[name], f"fields.{name}")
