"""What labelling tools export: Label Studio's pairwise projects and Argilla 2's rankings, one record a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alignment.shared.records import Prompt
from annotation_api.datasets.formats.orders import Made, best_first, by_scores
from annotation_api.datasets.formats.serialised import prompt_from
from annotation_api.datasets.values import Note, Refused, Row, as_list, as_number, as_object, as_text, show

CANCELLED = Note("annotations that were cancelled or skipped were left out")
NOT_SUBMITTED = Note("answers that were drafts or discarded were left out")
ASKED = ("prompt", "instruction", "question", "text")
SIDES = (("answer1", "answer2"), ("text1", "text2"), ("response1", "response2"), ("option1", "option2"))
LEFT_RIGHT = {"left": 1.0, "right": -1.0}


def studio_prompt(row: Row) -> Iterator[Prompt]:
    yield _prompt(as_object(row.get("data"), "data"), "data")


def studio_ranking(row: Row) -> Made:
    data = as_object(row.get("data"), "data")
    names = next((pair for pair in SIDES if all(name in data for name in pair)), None)
    if names is None:
        raise Refused("data", f"must hold the two texts, as {' or '.join('/'.join(pair) for pair in SIDES)}")
    sides = tuple(as_text(data[name], f"data.{name}") for name in names)
    if not as_list(row.get("annotations"), "annotations"):
        raise Refused("annotations", "holds none: nobody has judged this task yet")
    for i, item in enumerate(row["annotations"]):
        field = f"annotations[{i}]"
        given = as_object(item, field)
        if given.get("was_cancelled"):
            yield CANCELLED
            continue
        who = given.get("completed_by")
        annotator = str(who.get("id") if isinstance(who, dict) else who) if who is not None else None
        yield from by_scores(_prompt(data, "data"), sides, (_lead(given, field), 0.0), field, annotator=annotator)


def _lead(given: dict[str, Any], field: str) -> float:
    for i, item in enumerate(as_list(given.get("result"), f"{field}.result")):
        value = as_object(as_object(item, field).get("value"), f"{field}.result[{i}].value")
        if "selected" in value:
            if not isinstance(value["selected"], str) or value["selected"] not in LEFT_RIGHT:
                raise Refused(
                    f"{field}.result[{i}].value.selected", f"must be left or right, it is {show(value['selected'])}"
                )
            return LEFT_RIGHT[value["selected"]]
    raise Refused(f"{field}.result", "holds no choice between left and right")


def argilla_prompt(row: Row) -> Iterator[Prompt]:
    yield _prompt(as_object(row.get("fields"), "fields"), "fields")


def argilla_ranking(row: Row) -> Made:
    """Each submitted ranking of fields, best first."""
    fields = as_object(row.get("fields"), "fields")
    found = 0
    for question, given in as_object(row.get("responses"), "responses").items():
        for i, item in enumerate(as_list(given, f"responses.{question}")):
            field = f"responses.{question}[{i}]"
            answer = as_object(item, field)
            if answer.get("status", "submitted") != "submitted":
                yield NOT_SUBMITTED
                continue
            names = _in_order(as_list(answer.get("value"), f"{field}.value"), f"{field}.value")
            if not all(isinstance(name, str) and name in fields for name in names):
                raise Refused(f"{field}.value", f"must name fields of the record ({', '.join(fields)})")
            found += 1
            texts = [as_text(fields[name], f"fields.{name}") for name in names]
            annotator = str(answer["user_id"]) if answer.get("user_id") is not None else None
            yield from best_first(_prompt(fields, "fields"), texts, field, annotator=annotator)
    if not found:
        raise Refused("responses", "holds no submitted ranking")


def _in_order(value: list[Any], field: str) -> list[Any]:
    """Names, best first; or names with a rank each, 1 the best. Equal ranks are refused: the order is not known."""
    if not all(isinstance(item, dict) for item in value):
        return value
    ranks = [as_number(item.get("rank"), f"{field}[{i}].rank") for i, item in enumerate(value)]
    if len(set(ranks)) < len(ranks):
        raise Refused(field, "gives one rank to several answers")
    return [value[i].get("value") for i in sorted(range(len(value)), key=lambda i: ranks[i])]


def _prompt(fields: dict[str, Any], place: str) -> Prompt:
    name = next((name for name in ASKED if fields.get(name) is not None), None)
    if name is None:
        raise Refused(place, f"must hold the prompt, under {', '.join(ASKED)}")
    return prompt_from(fields[name], f"{place}.{name}")
