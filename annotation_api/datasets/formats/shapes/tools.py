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
LEFT_RIGHT = {"left": 1.0, "right": -1.0, "tie": 0.0, "equal": 0.0}
BODY = ("body", "text", "html", "content")  # of one of a ranker's items


def studio_prompt(row: Row) -> Iterator[Prompt]:
    yield _prompt(as_object(row.get("data"), "data"), "data")


def studio_ranking(row: Row) -> Made:
    """One ranking a person: left or right, a choice, or an order of items."""
    data = as_object(row.get("data"), "data")
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
        results = as_list(given.get("result"), f"{field}.result")
        order = next(
            (found for k, result in enumerate(results) if (found := _order(result, f"{field}.result[{k}]"))), None
        )
        asked = _prompt(data, "data")
        if order is not None:
            yield from best_first(asked, _ordered(data, order, field), field, annotator=annotator)
        else:
            yield from by_scores(asked, _sides(data), (_lead(results, field), 0.0), field, annotator=annotator)


def _sides(data: dict[str, Any]) -> tuple[str, ...]:
    names = next((pair for pair in SIDES if all(name in data for name in pair)), None)
    if names is None:
        raise Refused("data", f"must hold the two texts, as {' or '.join('/'.join(pair) for pair in SIDES)}")
    return tuple(as_text(data[name], f"data.{name}") for name in names)


def _order(result: object, field: str) -> list[str] | None:
    """The ids of a ranker, best first; None where the result is another one."""
    value = as_object(as_object(result, field).get("value"), f"{field}.value")
    ranker = value.get("ranker")
    if isinstance(ranker, dict):  # columns by name; the one that is called rank or the only one holds the order
        lists = {name: ids for name, ids in ranker.items() if isinstance(ids, list)}
        ranker = lists.get("rank") or (next(iter(lists.values())) if len(lists) == 1 else None)
        if ranker is None:
            raise Refused(f"{field}.value.ranker", "holds several lists; which of them is the order is not said")
    return [str(key) for key in ranker] if isinstance(ranker, list) else None


def _ordered(data: dict[str, Any], order: list[str], field: str) -> list[str]:
    """The texts of the ids. Refused when the order leaves items out: what was left out is not known to be worse."""
    name = next((name for name, value in data.items() if isinstance(value, list)), "items")
    items = [as_object(item, f"data.{name}") for item in as_list(data.get(name), f"data.{name}")]
    texts = {str(item.get("id")): item for item in items}
    if len(texts) < len(items) or set(order) != set(texts) or len(order) != len(texts):
        raise Refused(field, f"ranks {len(order)} of {len(items)} items; an order of all of them is needed")
    return [
        as_text(next((texts[key][name] for name in BODY if texts[key].get(name)), None), f"data.items.{key}")
        for key in order
    ]


def _lead(results: list[Any], field: str) -> float:
    for i, item in enumerate(results):
        place = f"{field}.result[{i}].value"
        value = as_object(as_object(item, field).get("value"), place)
        chosen = value.get("selected")
        if chosen is None and isinstance(value.get("choices"), list) and len(value["choices"]) == 1:
            chosen = value["choices"][0]
        if chosen is None:
            continue
        if not isinstance(chosen, str) or chosen.strip().lower() not in LEFT_RIGHT:
            raise Refused(f"{place}.selected", f"must be left or right, or tie, it is {show(chosen)}")
        return LEFT_RIGHT[chosen.strip().lower()]
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
            names, scores = _in_order(as_list(answer.get("value"), f"{field}.value"), f"{field}.value")
            if not all(isinstance(name, str) and name in fields for name in names):
                raise Refused(f"{field}.value", f"must name fields of the record ({', '.join(fields)})")
            found += 1
            texts = [as_text(fields[name], f"fields.{name}") for name in names]
            annotator = str(answer["user_id"]) if answer.get("user_id") is not None else None
            yield from by_scores(_prompt(fields, "fields"), texts, scores, field, annotator=annotator)
    if not found:
        raise Refused("responses", "holds no submitted ranking")


def _in_order(value: list[Any], field: str) -> tuple[list[Any], list[float]]:
    """Names, best first; or names with a rank each, 1 the best: equal ranks are a tie. With a score for each."""
    if not all(isinstance(item, dict) for item in value):
        return value, [-float(place) for place in range(len(value))]
    ranks = [as_number(item.get("rank"), f"{field}[{i}].rank") for i, item in enumerate(value)]
    order = sorted(range(len(value)), key=lambda i: ranks[i])
    return [value[i].get("value") for i in order], [-ranks[i] for i in order]


def _prompt(fields: dict[str, Any], place: str) -> Prompt:
    name = next((name for name in ASKED if fields.get(name) is not None), None)
    if name is None:
        raise Refused(place, f"must hold the prompt, under {', '.join(ASKED)}")
    return prompt_from(fields[name], f"{place}.{name}")
