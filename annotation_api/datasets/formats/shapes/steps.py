"""Answers that were judged step by step: TRL's stepwise rows and PRM800K. Their steps are no responses of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Never

from alignment.shared.records import Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.serialised import prompt_from
from annotation_api.datasets.formats.shapes.chats import alpaca_prompt
from annotation_api.datasets.values import Refused, Row, as_object

STEPS = ("completions", "steps")
LABELS = ("labels", "ratings", "step_labels")


def speaks(row: Row) -> bool:
    return _is_stepwise(row) or _is_prm(row)


def _is_stepwise(row: Row) -> bool:
    """TRL: `completions` are the steps of one answer, each with yes or no in `labels`."""
    steps = next((row[name] for name in STEPS if isinstance(row.get(name), list)), None)
    labels = next((row[name] for name in LABELS if isinstance(row.get(name), list)), None)
    if not steps or not labels or len(steps) != len(labels):
        return False
    return all(isinstance(step, str) for step in steps) and all(isinstance(label, bool) for label in labels)


def _is_prm(row: Row) -> bool:
    """PRM800K: `label.steps`, each with the completions that were rated."""
    return isinstance(row.get("label"), dict) and isinstance(row["label"].get("steps"), list)


def no_record(row: Row) -> Iterator[Never]:
    raise Refused(
        "",
        Sentence(
            "judged-by-steps",
            "is one answer whose steps were judged one by one, which no stage here learns; import the file as prompts",
        ),
    )
    yield


def prompt(row: Row) -> Iterator[Prompt | Any]:
    if not _is_prm(row):
        yield from alpaca_prompt(row)
        return
    question = row.get("question")
    field = "question.problem"
    yield prompt_from(as_object(question, "question").get("problem") if isinstance(question, dict) else question, field)
