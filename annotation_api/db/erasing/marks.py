"""What was made of data that were erased: snapshots say it themselves, models by the data that they came from."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from annotation_api.db.sql import one_row, rows

NAME = """
SELECT coalesce(s.name, s.kind || ' of ' || coalesce(p.name, d.name, 'data'), s.kind) AS name FROM snapshots s
LEFT JOIN projects p ON p.id::text = s.sources ->> 'project'
LEFT JOIN datasets d ON d.id::text = s.sources -> 'datasets' ->> 0
WHERE s.id = %(snapshot)s
"""
# Each model with all models before it, and the snapshots that each of them read.
ANCESTORS = """
WITH RECURSIVE line (model, id) AS (
    SELECT id, id FROM model_versions WHERE id = ANY(%(models)s::uuid[])
    UNION
    SELECT line.model, parents.parent_id FROM line JOIN model_parents parents ON parents.model_id = line.id
), read (model, snapshot) AS (
    SELECT line.model, m.snapshot_id FROM line JOIN model_versions m ON m.id = line.id WHERE m.snapshot_id IS NOT NULL
    UNION
    SELECT line.model, (named #>> '{}')::uuid FROM line JOIN model_versions m ON m.id = line.id
    JOIN jobs j ON j.id = m.job_id, jsonb_path_query(j.inputs, '$.*.snapshot') named
)
"""
OF_MODELS = (
    ANCESTORS
    + """
SELECT read.model, sum(s.erased_rows)::bigint AS rows, max(s.erased_at) AS at FROM read
JOIN snapshots s ON s.id = read.snapshot WHERE s.erased_rows > 0 GROUP BY read.model
"""
)
# Models that came of snapshots, directly or through others.
DESCENDANTS = """
WITH RECURSIVE made (id, snapshot) AS (
    SELECT m.id, s.id FROM unnest(%(snapshots)s::uuid[]) AS s (id) JOIN model_versions m ON m.snapshot_id = s.id
    UNION
    SELECT m.id, s.id FROM unnest(%(snapshots)s::uuid[]) AS s (id)
    JOIN jobs j ON strpos(j.inputs::text, s.id::text) > 0 JOIN model_versions m ON m.job_id = j.id
    UNION
    SELECT parents.model_id, made.snapshot FROM made JOIN model_parents parents ON parents.parent_id = made.id
)
SELECT m.id, m.name, m.path, m.job_id, sum(lost.rows)::bigint AS rows FROM made
JOIN unnest(%(snapshots)s::uuid[], %(rows)s::bigint[]) AS lost (id, rows) ON lost.id = made.snapshot
JOIN model_versions m ON m.id = made.id GROUP BY m.id ORDER BY m.created_at
"""


@dataclass(frozen=True)
class ErasedFrom:
    """How many rows of a model's data were erased since, and when the last of them."""

    rows: int
    at: datetime

    @property
    def sentence(self) -> str:
        return f"Made from data of which {self.rows:,} rows were erased on {self.at:%Y-%m-%d}."


def name_of(session: Session, snapshot: uuid.UUID) -> str:
    return str(one_row(session, NAME, snapshot=snapshot).name)


def of_models(session: Session, models: Collection[uuid.UUID]) -> dict[uuid.UUID, ErasedFrom]:
    """Those of them that came of data which is erased now; whoever asks: a number and a day tell nothing."""
    found = rows(session, OF_MODELS, models=list(models))
    return {row.model: ErasedFrom(row.rows, row.at) for row in found}


def models_of(session: Session, snapshots: Mapping[uuid.UUID, int]) -> Sequence[Any]:
    """(id, name, path, job_id, rows) of the models that came of snapshots, with the rows that each of those lost."""
    if not snapshots:
        return []
    return rows(session, DESCENDANTS, snapshots=list(snapshots), rows=list(snapshots.values()))
