"""What an erasure will take, counted before anything is done; and who reads it just now."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from annotation_api.db.erasing import frozen, marks, targets
from annotation_api.db.kinds import ErasureScope
from annotation_api.db.sql import one_row, rows
from annotation_api.db.tables import Erasure

OF_PROMPTS = """
WITH chosen AS MATERIALIZED (SELECT p.id FROM prompts p WHERE {prompts} AND p.erased_at IS NULL)
SELECT (SELECT count(*) FROM chosen) AS prompts,
    (SELECT count(*) FROM responses WHERE prompt_id IN (SELECT id FROM chosen)) AS responses,
    (SELECT count(*) FROM tasks WHERE prompt_id IN (SELECT id FROM chosen)) AS tasks
"""
ANSWERS = """
SELECT count(*) AS answers FROM submissions x JOIN assignments a ON a.id = x.assignment_id
JOIN tasks t ON t.id = a.task_id JOIN prompts p ON p.id = t.prompt_id
WHERE x.erased_at IS NULL AND ({assignments} OR ({prompts} AND p.erased_at IS NULL))
"""
DATASET_ROWS = """
SELECT count(*) AS n FROM dataset_rows d JOIN datasets s ON s.id = d.dataset_id
WHERE {dataset_rows} AND d.erased_at IS NULL
"""
# Jobs that have not ended and read one of these snapshots, or what was prepared from them; or that fill a project.
READERS = """
WITH RECURSIVE held (id) AS (
    SELECT unnest(%(snapshots)s::uuid[])
    UNION
    SELECT s.id FROM held JOIN datasets d ON d.origin ->> 'snapshot' = held.id::text
    JOIN snapshots s ON s.sources -> 'datasets' ? d.id::text
)
SELECT j.id, j.stage, j.state FROM jobs j
WHERE j.state NOT IN ('succeeded', 'failed', 'cancelled') AND (
    EXISTS (SELECT FROM held WHERE strpos(j.inputs::text, held.id::text) > 0)
    OR (%(whole)s AND strpos(j.inputs::text, %(project)s) > 0)
) ORDER BY j.created_at
"""


@dataclass(frozen=True)
class Marked:
    """A snapshot that will lose rows, or a model that was made of one."""

    id: uuid.UUID
    name: str
    rows: int


@dataclass(frozen=True)
class Foreseen:
    prompts: int
    responses: int
    tasks: int
    answers: int
    dataset_rows: int
    snapshots: tuple[Marked, ...]
    models: tuple[Marked, ...]

    @property
    def rows(self) -> int:
        return self.prompts + self.responses + self.answers + self.dataset_rows + sum(s.rows for s in self.snapshots)


def conditions(erasure: Erasure) -> dict[str, str]:
    """Each table's, by its name in the statements."""
    return {
        "prompts": targets.prompts(erasure),
        "assignments": targets.assignments(erasure),
        "decisions": targets.decisions(erasure),
        "comments": targets.comments(erasure),
        "dataset_rows": targets.dataset_rows(erasure),
        "snapshot_rows": targets.snapshot_rows(erasure),
    }


def plan(session: Session, erasure: Erasure) -> Foreseen:
    """Of one that need not be stored."""
    values, where = targets.values_of(erasure), conditions(erasure)
    found = one_row(session, OF_PROMPTS.format(**where), **values)
    held = rows(session, frozen.HOLDING.format(**where), **values)
    snapshots = tuple(Marked(row.id, marks.name_of(session, row.id), row.rows) for row in held)
    return Foreseen(
        found.prompts,
        found.responses,
        found.tasks,
        one_row(session, ANSWERS.format(**where), **values).answers,
        one_row(session, DATASET_ROWS.format(**where), **values).n,
        snapshots,
        tuple(
            Marked(row.id, row.name, row.rows) for row in marks.models_of(session, {s.id: s.rows for s in snapshots})
        ),
    )


def readers(session: Session, erasure: Erasure, snapshots: Sequence[uuid.UUID]) -> list[str]:
    """The jobs that stand in the way, in words."""
    project = targets.values_of(erasure)["project"]
    whole = erasure.scope is ErasureScope.PROJECT
    found = rows(session, READERS, snapshots=list(snapshots), whole=whole, project=project or "")
    return [f"{row.stage} job {row.id} ({row.state})" for row in found]
