"""Label Studio's pairwise and ranker projects, as JSON and as JSON-MIN or CSV; one record a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alignment.shared.records import Demonstration, Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, best_first, by_scores
from annotation_api.datasets.formats.serialised import parsed_list, prompt_from
from annotation_api.datasets.formats.shapes.chats import OUTPUT, alpaca_demonstration
from annotation_api.datasets.formats.shapes.sides import columns, lead
from annotation_api.datasets.values import Note, Refused, Row, as_list, as_object, as_text, show

CANCELLED = Note(
    Sentence("note-annotations-were-cancelled-skipped", "annotations that were cancelled or skipped were left out")
)
ASKED = ("prompt", "instruction", "question", "text")
LEFT_RIGHT = {"left": 1.0, "right": -1.0, "tie": 0.0, "equal": 0.0}
BODY = ("body", "text", "html", "content", "title")  # of one of a ranker's items
BUCKET = "_"  # of a ranker: items that nobody placed


def speaks(row: Row) -> bool:
    return isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)


def is_min(row: Row) -> bool:
    """JSON-MIN and CSV: the task's fields, and those of one annotation beside them."""
    return row.get("annotation_id") is not None and any(
        row.get(name) is not None for name in ("annotator", "lead_time")
    )


def prompt(row: Row) -> Iterator[Prompt]:
    yield _prompt(row, "") if is_min(row) else _prompt(as_object(row.get("data"), "data"), "data.")


def ranking(row: Row) -> Made:
    """One ranking a person: left or right, a choice, or an order of items."""
    if is_min(row):
        yield from _judged(row, list(_min_results(row)), row.get("annotator"), "")
        return
    data = as_object(row.get("data"), "data")
    if not as_list(row.get("annotations"), "annotations"):
        raise Refused("annotations", Sentence("nobody-judged", "holds none: nobody has judged this task yet"))
    for i, item in enumerate(row["annotations"]):
        field = f"annotations[{i}]"
        given = as_object(item, field)
        if given.get("was_cancelled"):
            yield CANCELLED
            continue
        results = [as_object(result, f"{field}.result") for result in as_list(given.get("result"), f"{field}.result")]
        values = [as_object(result.get("value"), f"{field}.result[{k}].value") for k, result in enumerate(results)]
        yield from _judged(data, values, given.get("completed_by"), field)


def is_written(row: Row) -> bool:
    """Whether people wrote an answer, in a text area, and compared nothing."""
    if is_min(row):
        return columns(row) is None and any(isinstance(row.get(name), str) for name in OUTPUT)
    given = [item for item in row.get("annotations") or () if isinstance(item, dict)]
    data = row.get("data")
    compared = any(_compares(item) for item in given) or (isinstance(data, dict) and columns(data) is not None)
    return not compared and any(_written(item) for item in given)


def _compares(given: dict[str, Any]) -> bool:
    """Whether one person compared something: a text beside it is a comment, not an answer."""
    results = [item.get("value") for item in given.get("result") or () if isinstance(item, dict)]
    return any(isinstance(value, dict) and bool({"selected", "ranker"} & value.keys()) for value in results)


def _written(given: dict[str, Any]) -> list[object]:
    """The lists of texts among the results of one person."""
    results = [item for item in given.get("result") or () if isinstance(item, dict)]
    values = [item["value"] for item in results if isinstance(item.get("value"), dict)]
    return [value["text"] for value in values if value.get("text") is not None]


def demonstration(row: Row) -> Iterator[Demonstration | Note]:
    """One for each person who wrote one text."""
    if is_min(row):
        yield from alpaca_demonstration(row)
        return
    asked = _prompt(as_object(row.get("data"), "data"), "data.")
    for i, item in enumerate(row["annotations"]):
        field, given = f"annotations[{i}]", as_object(item, f"annotations[{i}]")
        if given.get("was_cancelled"):
            yield CANCELLED
            continue
        texts = [text for found in _written(given) for text in (found if isinstance(found, list) else [found])]
        if len(texts) != 1:
            raise Refused(
                field, Sentence("one-text-needed", "holds %(texts)s texts; one answer is needed", texts=len(texts))
            )
        yield Demonstration(prompt=asked, response=as_text(texts[0], f"{field}.text"))


def _min_results(row: Row) -> Iterator[dict[str, Any]]:
    """What stands under the names of the project's controls: a word, an object, or a list of objects; also as JSON."""
    for name, value in row.items():
        found = parsed_list(value, name) if isinstance(value, str) and value.startswith(("[{", '["')) else value
        for item in found if isinstance(found, list) and found and isinstance(found[0], dict) else [found]:
            if isinstance(item, dict) and {"selected", "ranker", "choices"} & item.keys():
                yield row[name] if item is value else item
            elif isinstance(item, str) and item.strip().lower() in LEFT_RIGHT:
                yield {"selected": row[name]}
            elif isinstance(item, list) and item and set(map(str, item)) == set(_texts(row)):
                yield {"ranker": row[name] if item is value else item}


def _judged(data: Row, values: list[dict[str, Any]], who: object, field: str) -> Made:
    who = who.get("id") if isinstance(who, dict) else who
    annotator = str(who) if who not in (None, "") else None
    order = next((found for value in values if (found := _order(value, field))), None)
    asked = _prompt(data, "")
    if order is not None:
        yield from best_first(asked, _ordered(data, order, field), field, annotator=annotator)
    else:
        names, sides = _sides(data)
        first, all_bad = _lead(values, names, field)
        yield from by_scores(asked, sides, (first, 0.0), field, annotator=annotator, all_bad=all_bad)


def _sides(data: Row) -> tuple[tuple[str, str], tuple[str, ...]]:
    names = columns(data)
    if names is None:
        raise Refused(
            "data",
            Sentence("two-texts", "must hold the two texts, as answer1 and answer2, or response_a and response_b"),
        )
    return names, tuple(as_text(data[name], f"data.{name}") for name in names)


def _order(value: dict[str, Any], field: str) -> list[str] | None:
    """The ids of a ranker, best first; None where the result is another one."""
    ranker = value.get("ranker")
    if isinstance(ranker, dict):  # columns by name; the one that is called rank or the only one holds the order
        lists = {name: ids for name, ids in ranker.items() if isinstance(ids, list) and name != BUCKET}
        ranker = lists.get("rank") or (next(iter(lists.values())) if len(lists) == 1 else None)
        if ranker is None:
            raise Refused(
                f"{field}.ranker",
                Sentence("several-lists", "holds several lists; which of them is the order is not said"),
            )
    return [str(key) for key in ranker] if isinstance(ranker, list) else None


def _items(data: Row) -> tuple[str, list[dict[str, Any]]]:
    """The ranker's items: the list of objects with an id."""
    for name, value in data.items():
        opened = parsed_list(value, name) if isinstance(value, str) and value.startswith("[{") else value
        items = opened if isinstance(opened, list) else []
        if items and all(isinstance(item, dict) and "id" in item for item in items):
            return name, data[name] if opened is value else items
    return "items", []


def _texts(data: Row) -> dict[str, dict[str, Any]]:
    return {str(item["id"]): item for item in _items(data)[1]}


def _ordered(data: Row, order: list[str], field: str) -> list[str]:
    """The texts of the ids. Refused when the order leaves items out: what was left out is not known to be worse."""
    (name, items), texts = _items(data), _texts(data)
    if len(texts) < len(items) or set(order) != set(texts) or len(order) != len(texts):
        raise Refused(
            field,
            Sentence(
                "ranks-of-items",
                "ranks %(order)s of %(items)s items; an order of all of them is needed",
                order=len(order),
                items=len(items),
            ),
        )
    return [
        as_text(next((texts[key][body] for body in BODY if texts[key].get(body)), None), f"{name}.{key}")
        for key in order
    ]


def _lead(values: list[dict[str, Any]], sides: tuple[str, str], field: str) -> tuple[float, bool]:
    for value in values:
        chosen = value.get("selected")
        if chosen is None and isinstance(value.get("choices"), list) and len(value["choices"]) == 1:
            chosen = value["choices"][0]
        if chosen is None:
            continue
        word = chosen.strip().lower() if isinstance(chosen, str) else ""
        said = (LEFT_RIGHT[word], False) if word in LEFT_RIGHT else lead(chosen, sides)
        if said is None:
            raise Refused(
                f"{field}.selected",
                Sentence("left-or-right", "must be left or right, or tie, it is %(chosen)s", chosen=show(chosen)),
            )
        return said
    raise Refused(field, Sentence("no-left-right", "holds no choice between left and right"))


def _prompt(data: Row, place: str) -> Prompt:
    name = next((name for name in ASKED if data.get(name) is not None), None)
    if name is None:
        raise Refused(
            place.rstrip(".") or "prompt",
            Sentence("must-hold-prompt", "must hold the prompt, under %(asked)s", asked=", ".join(ASKED)),
        )
    return prompt_from(data[name], f"{place}{name}")
