"""Mechanical Turk's batch results: `Input.` and `Answer.` taken off the names of columns, checkboxes as one word.

A crowd-form's own answer can stand as JSON in `Answer.taskAnswers`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import Note, Refused

MARKS = frozenset({"HITId", "WorkerId"})
REJECTED = Note(Sentence("note-assignments-were-rejected-were", "assignments that were rejected were left out"))
TASK = "taskAnswers"
_CHECKED = re.compile(r"(.+)\.([^.]+)")


def is_batch(row: dict[str, Any]) -> bool:
    return row.keys() >= MARKS and any(str(name).startswith("Answer.") for name in row)


def is_rejected(row: dict[str, Any]) -> bool:
    return str(row.get("AssignmentStatus", "")).lower() == "rejected"


def unbatched(row: dict[str, Any]) -> dict[str, Any]:
    """The row under the names that the task itself gave."""
    asked = {name.removeprefix("Input."): value for name, value in row.items() if name.startswith("Input.")}
    given = {name.removeprefix("Answer."): value for name, value in row.items() if name.startswith("Answer.")}
    rest = {name: value for name, value in row.items() if not name.startswith(("Input.", "Answer.", "WorkerId"))}
    return {**rest, **asked, **_answers(given), "annotator": row["WorkerId"]}


def _answers(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    form = _crowd_form(given.pop(TASK, None))
    for name, value in {**given, **form}.items():
        parts = _CHECKED.fullmatch(name)
        word = str(value).strip().lower()
        if parts and word in ("true", "on"):
            if parts[1] in found:
                raise Refused(
                    f"Answer.{parts[1]}", Sentence("two-boxes", "has two boxes checked; one answer is needed")
                )
            found[parts[1]] = parts[2]
        elif parts and parts[2] == "label":  # a classifier's answer
            found[parts[1]] = value
        elif not (parts and word in ("false", "off", "")):
            found[name] = value
    return found


def _crowd_form(value: object) -> dict[str, Any]:
    """`[{"best": {"A": false, "B": true}, "note": "x"}]` as the columns that it stands for."""
    if not isinstance(value, str) or not value.strip():
        return {}
    try:
        (answers,) = json.loads(value)
        pairs = answers.items()
    except (ValueError, TypeError, AttributeError):
        raise Refused(f"Answer.{TASK}", Sentence("no-list-of-one", "is no JSON list of one object")) from None
    columns: dict[str, Any] = {}
    for name, said in pairs:
        columns |= {f"{name}.{key}": inner for key, inner in said.items()} if isinstance(said, dict) else {name: said}
    return columns
