"""What tallies read of a prompt: every judgement of it, and what it was about."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from annotation_api.db.forms import read_form
from annotation_api.db.sql import rows
from annotation_api.db.tallies.sides import sided

# Gold items are known, so that agreement on them is no agreement of people; nor do they make a model win.
# Judgements that still wait to be counted are left out, but for those that this transaction took from the list.
# OFFSET 0 keeps tasks and judgements apart: what Postgres makes one join of reads all judgements that there are.
OF_PROMPTS = """
SELECT t.prompt_id, t.id AS task, t.kind, t.form_id, judged.id, judged.supersedes, judged.payload, judged.created_at,
    judged.display_order, p.pseudonym, prompts.record->>'criterion' AS criterion,
    prompts.record->>'language' AS language
FROM tasks t
JOIN prompts ON prompts.id = t.prompt_id
CROSS JOIN LATERAL (
    SELECT s.id, s.seq, s.supersedes, s.payload, s.created_at, a.display_order, a.person_id
    FROM assignments a JOIN submissions s ON s.assignment_id = a.id
    WHERE a.task_id = t.id AND s.erased_at IS NULL
        AND NOT EXISTS (SELECT FROM pending_judgements later WHERE later.submission_id = s.id OFFSET 0)
    OFFSET 0
) AS judged
JOIN people p ON p.id = judged.person_id
WHERE t.prompt_id = ANY(%(prompts)s) AND NOT t.gold
ORDER BY judged.seq
"""
ITEMS = """
SELECT places.task_id, r.id::text, r.text_hash, length(r.text) AS size, r.model_id::text
FROM task_responses places JOIN responses r ON r.id = places.response_id
WHERE places.task_id = ANY(%(tasks)s) ORDER BY places.task_id, places.position
"""
FORMS = "SELECT id, kind, version, spec FROM forms WHERE id = ANY(%(forms)s)"


@dataclass(frozen=True)
class Item:
    """A response that was judged."""

    id: str
    text: str  # its hash: equal texts are one response
    size: int
    model: str | None  # its id


@dataclass(frozen=True)
class FormFacts:
    """What of a form bears on agreement."""

    name: str  # its kind and version
    criterion: str
    questions: Mapping[str, Mapping[str, Any]]  # by id
    sided: frozenset[str]  # those of the questions whose answers name a side of a pair
    rules: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Judged:
    """One judgement of a task."""

    id: uuid.UUID
    supersedes: uuid.UUID | None
    by: str  # a pseudonym
    day: str  # ISO 8601, UTC
    kind: str
    task: uuid.UUID
    items: tuple[Item, ...]  # in the order of sampling
    shown: tuple[str, ...]  # their ids in the order on the page
    form: FormFacts
    criterion: str  # of the prompt
    language: str
    payload: Mapping[str, Any]


def of_prompts(session: Session, prompts: Collection[uuid.UUID]) -> dict[uuid.UUID, list[Judged]]:
    """All judgements of each prompt, superseded ones among them, in the order in which they came."""
    found = rows(session, OF_PROMPTS, prompts=list(prompts))
    items = _items(session, {row.task for row in found})
    forms = _forms(session, {row.form_id for row in found})
    judged: dict[uuid.UUID, list[Judged]] = {}
    for row in found:
        judged.setdefault(row.prompt_id, []).append(_judged(row, items[row.task], forms[row.form_id]))
    return judged


def _judged(row: Any, items: tuple[Item, ...], form: FormFacts) -> Judged:
    return Judged(
        id=row.id,
        supersedes=row.supersedes,
        by=row.pseudonym,
        day=row.created_at.date().isoformat(),
        kind=row.kind,
        task=row.task,
        items=items,
        shown=tuple(row.display_order),
        form=form,
        criterion=row.criterion or "",
        language=row.language or "",
        payload=row.payload,
    )


def _items(session: Session, tasks: Collection[uuid.UUID]) -> dict[uuid.UUID, tuple[Item, ...]]:
    found: dict[uuid.UUID, list[Item]] = {}
    for task, *item in rows(session, ITEMS, tasks=list(tasks)):
        found.setdefault(task, []).append(Item(*item))
    return {task: tuple(items) for task, items in found.items()}


def _forms(session: Session, forms: Collection[uuid.UUID]) -> dict[uuid.UUID, FormFacts]:
    return {
        row.id: FormFacts(
            name=f"{row.kind} {row.version}",
            criterion=row.spec.get("criterion") or "",
            questions={question["id"]: question for question in row.spec.get("questions", ())},
            sided=sided(read_form(row.spec)),
            rules={rule["id"]: rule for rule in row.spec.get("rules", ())},
        )
        for row in rows(session, FORMS, forms=list(forms))
    }
