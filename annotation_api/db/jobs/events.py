"""Events and metrics of a job: append-only, numbered without gaps.

Whoever appends holds the job's row lock, which `db.jobs.store` takes; so two writers never want the
same number.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from alignment.shared.events import StageProgress
from alignment.shared.records import canonical_json, storable
from alignment.shared.sentence import Sentence, parts
from annotation_api.db.sql import one_row
from annotation_api.db.tables import Metric

APPEND = """
WITH last AS (SELECT coalesce(max(seq), 0) AS seq FROM job_events WHERE job_id = %(job)s),
added AS (
    INSERT INTO job_events (job_id, seq, epoch, type, data)
    SELECT %(job)s, last.seq + new.place, %(epoch)s, new.type, new.data::jsonb
    FROM last, unnest(%(types)s::text[], %(data)s::text[]) WITH ORDINALITY AS new (type, data, place)
)
SELECT seq FROM last
"""


@dataclass(frozen=True)
class Event:
    """What is to be appended: `type` is state, progress, note, samples or look; `data` holds JSON types."""

    type: str
    data: Mapping[str, Any]

    @classmethod
    def progress(cls, progress: StageProgress, **more: Any) -> Event:
        """Also becomes the job's `progress` and its metrics; `more` is for example the device in use."""
        return cls("progress", asdict(progress) | more)

    @classmethod
    def note(cls, message: Sentence, level: str = "info") -> Event:
        """English to be read as it is, and its code for pages in other languages."""
        return cls("note", {"message": message, "level": level, "said": parts(message)})

    @classmethod
    def samples(cls, step: int, rows: Sequence[Mapping[str, Any]]) -> Event:
        return cls("samples", {"step": step, "rows": [dict(row) for row in rows]})

    @classmethod
    def evaluation(cls, update: int, rows: Sequence[Mapping[str, Any]]) -> Event:
        """Replies of a policy in training beside the SFT policy's, as `workers.attempt.comparisons` writes them."""
        return cls("look", {"update": update, "rows": [dict(row) for row in rows]})


def append(session: Session, job_id: uuid.UUID, epoch: int, events: Sequence[Event]) -> int:
    """Add events in order; return the number of the last one (0: the job has none)."""
    types, data = [event.type for event in events], [canonical_json(storable(event.data)) for event in events]
    before = one_row(session, APPEND, job=job_id, epoch=epoch, types=types, data=data)
    return int(before.seq) + len(types)


def record_metrics(session: Session, job_id: uuid.UUID, epoch: int, events: Iterable[Event]) -> None:
    """Keep the numbers of progress events; a step that is told again replaces what it said before."""
    rows = {
        (event.data["phase"], event.data["step"], name): storable(float(value))
        for event in events
        if event.type == "progress"
        for name, value in event.data.get("metrics", {}).items()
    }
    if not rows:
        return
    statement = upsert(Metric)
    keys = [column.name for column in Metric.__mapper__.primary_key]
    session.execute(
        statement.on_conflict_do_update(index_elements=keys, set_={"value": statement.excluded.value}),
        [
            {"job_id": job_id, "epoch": epoch, "phase": phase, "step": step, "name": name, "value": value}
            for (phase, step, name), value in rows.items()
        ],
    )
