"""Rated responses, one a row, as the rankings that they are: HelpSteer's rows, people's tables of ranks or scores.

Each row holds a response and a number for it; rows of the same prompt (and the same annotator) that stand one after
another become one, with a list of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from alignment.shared.records import MAX_RESPONSES
from annotation_api.datasets.files.json_rows import Numbered
from annotation_api.datasets.formats.shapes.chats import INPUT, INSTRUCTION, SYSTEM
from annotation_api.datasets.formats.shapes.pairs import has_sides, refused_beside

ANSWERED = ("response", "output", "completion", "answer")
NUMBERS = {  # of one response: under which name a list of them stands
    "helpfulness": "scores",
    "rank": "ranks",
    "rating": "scores",
    "score": "scores",
    "reward": "scores",
}
WHO = ("annotator", "annotator_id", "worker", "rater", "labeler")


def is_rated(row: dict[str, Any]) -> bool:
    """Whether a row holds a prompt, one response and a number for it."""
    found = (_first(row, INSTRUCTION), _first(row, ANSWERED), _number(row))
    return None not in found and not (has_sides(row) or refused_beside(row))


def _first(row: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if isinstance(row.get(name), str) and row[name].strip()), None)


def _number(row: dict[str, Any]) -> str | None:
    return next((name for name in NUMBERS if _is_number(row.get(name))), None)


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lstrip("-").replace(".", "", 1).isdigit()
    return isinstance(value, int | float) and not isinstance(value, bool)


def rankings(rows: Iterable[Numbered]) -> Iterator[Numbered]:
    """The rows, with each run of rated responses of one prompt as one row, numbered as its first."""
    run: list[Numbered] = []
    for row in rows:
        if run and (len(run) == MAX_RESPONSES or _asked(row) != _asked(run[0])):
            yield _together(run)
            run = []
        run.append(row)
    if run:
        yield _together(run)


def _asked(row: Numbered) -> object:
    """What was asked of whom, and where the number stands; every other row stands alone."""
    number, value = row
    if not isinstance(value, dict) or not is_rated(value):
        return (number,)
    return [value.get(name) for name in (*INSTRUCTION, *INPUT, *SYSTEM, *WHO)], _number(value), _first(value, ANSWERED)


def _together(run: list[Numbered]) -> Numbered:
    if len(run) == 1:
        return run[0]
    rows: list[dict[str, Any]] = [value for _, value in run if isinstance(value, dict)]
    answered, number = _first(rows[0], ANSWERED), _number(rows[0])
    assert answered is not None
    assert number is not None
    shared = (*INSTRUCTION, *INPUT, *SYSTEM)
    asked = {name: rows[0][name] for name in shared if name in rows[0]}
    who = next((rows[0][name] for name in WHO if rows[0].get(name) not in (None, "")), None)
    rest = {name: [row.get(name) for row in rows] for name in rows[0] if name not in (*shared, *WHO, answered, number)}
    lists = {"responses": [row[answered] for row in rows], NUMBERS[number]: [row[number] for row in rows]}
    return run[0][0], {**rest, **asked, **lists} | ({"annotator": str(who)} if who is not None else {})
