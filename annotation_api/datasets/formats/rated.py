"""Rated responses, one a row, as the rankings that they are: HelpSteer's rows of one prompt stand together.

Each row holds a response and how helpful it was; rows of the same prompt become one, with a list of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from alignment.shared.records import MAX_RESPONSES
from annotation_api.datasets.files.json_rows import Numbered

RATED = "helpfulness"
MARKS = frozenset({"prompt", "response", RATED})


def is_rated(value: object) -> bool:
    return isinstance(value, dict) and value.keys() >= MARKS


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
    """The prompt of a rated response; every other row stands alone."""
    number, value = row
    return value["prompt"] if isinstance(value, dict) and is_rated(value) else (number,)


def _together(run: list[Numbered]) -> Numbered:
    if len(run) == 1:
        return run[0]
    rows: list[dict[str, Any]] = [value for _, value in run if isinstance(value, dict)]
    rest = {name: [row.get(name) for row in rows] for name in rows[0] if name not in MARKS}
    asked = {"prompt": rows[0]["prompt"], "responses": [row["response"] for row in rows]}
    return run[0][0], {**rest, **asked, "scores": [row[RATED] for row in rows]}
