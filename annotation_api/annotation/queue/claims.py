"""What a claim asks of the tables, as SQL text.

It runs for every task that anybody gets, so it goes straight to the driver.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from annotation_api.db.membership import SEES, SPOKEN
from annotation_api.db.places import taken
from annotation_api.db.sql import one_row, rows
from annotation_api.db.tables import Role
from annotation_api.http.auth import Someone

# The project, if the person may see it, with its rules and where the person stands in it, and the person's leases in
# it, oldest first, also those that ran out unnoticed.
IN_HAND = f"""
SELECT p.id AS project_id, p.lease_seconds, p.daily_limit, p.closed_at, q.gold_rate, q.entry,
    s.entered_at, s.paused_at, s.reason, held.id, held.task_id,
    (SELECT m.languages FROM project_members m WHERE m.project_id = p.id AND m.person_id = %(person)s) AS languages
FROM projects p
LEFT JOIN quality_rules q ON q.project_id = p.id
LEFT JOIN standings s ON s.project_id = p.id AND s.person_id = %(person)s
LEFT JOIN (
    SELECT a.id, a.task_id, a.created_at, t.project_id
    FROM assignments a JOIN tasks t ON t.id = a.task_id
    WHERE a.person_id = %(person)s AND a.state = 'leased'
) AS held ON held.project_id = p.id
WHERE p.id = %(project)s AND {SEES}
ORDER BY held.created_at, held.id
"""

# Open: a place is free, the person neither has the task, nor had it, nor skipped it, and it is in their languages. What
# the person had is asked first, of the index that says so: who is far ahead passes thousands of tasks that others have
# yet to judge.
OPEN = f"""
    t.project_id = %(project)s AND t.judged < t.overlap AND t.id <> ALL (%(passed)s::uuid[])
    AND NOT EXISTS (
        SELECT FROM assignments mine WHERE mine.task_id = t.id AND mine.person_id = %(person)s
            AND mine.state IN ('leased', 'submitted', 'skipped')
    ) AND {SPOKEN} AND (SELECT count(*) FROM assignments a WHERE a.task_id = t.id AND {taken("a")}) < t.overlap
"""
ANY_OPEN = f"SELECT EXISTS (SELECT FROM tasks t WHERE {OPEN}) AS found"
LOCK_FIRST = f"""
SELECT t.id FROM tasks t WHERE {OPEN}
ORDER BY t.priority DESC, t.created_at, t.id LIMIT 1 FOR NO KEY UPDATE OF t SKIP LOCKED
"""

# Run under the task's lock: what is counted here is true until the transaction ends. A gold item has a place for
# everybody, so for it nothing is counted but whose turn it is, and nobody waits for its lock.
TAKE_PLACE = f"""
WITH look AS (
    SELECT count(*) AS shown,
        count(*) FILTER (WHERE {taken()}) AS taken
    FROM assignments WHERE task_id = %(task)s
), ended AS (
    UPDATE assignments SET state = 'expired' WHERE id IN (
        SELECT id FROM assignments
        WHERE task_id = %(task)s AND state = 'leased' AND lease_until <= clock_timestamp() FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO assignments (id, task_id, person_id, state, display_order, lease_until, created_at)
SELECT %(id)s, t.id, %(person)s, 'leased', %(orders)s::jsonb -> mod(look.shown, %(turns)s)::int,
    clock_timestamp() + make_interval(secs => %(seconds)s), clock_timestamp()
FROM tasks t, look WHERE t.id = %(task)s AND (t.gold OR look.taken < t.overlap)
RETURNING display_order, lease_until
"""

# The lock on the assignment makes a draft wait for a submission of it, after which it is leased no more.
SAVE_DRAFT = """
WITH mine AS (
    SELECT id FROM assignments WHERE id = %(assignment)s AND person_id = %(person)s AND state = 'leased' FOR SHARE
)
INSERT INTO drafts (assignment_id, payload) SELECT id, %(payload)s::jsonb FROM mine
ON CONFLICT (assignment_id) DO UPDATE SET payload = EXCLUDED.payload, updated_at = now()
RETURNING assignment_id
"""


Row = Any  # one of `in_hand`: the project and what the person may get of it


@dataclass(frozen=True)
class TaskPlace:
    """A person's lease on a task: what a page needs to show it."""

    id: uuid.UUID
    task_id: uuid.UUID
    display_order: list[str]
    lease_until: datetime


def in_hand(session: Session, person: Someone, project_id: uuid.UUID) -> Sequence[Any]:
    """A row for each lease; one with `id` None if there is none, and no row if there is no such project."""
    everything = person.role is Role.ADMIN
    return rows(session, IN_HAND, person=person.id, project=project_id, everything=everything)


def lock_first_free(session: Session, person: Someone, project: Row, passed: Collection[uuid.UUID]) -> uuid.UUID | None:
    """Lock the first task in the queue that looks open and is in nobody's hands.

    The look is as old as the statement's start: what `take_place` counts under the lock decides.
    """
    row = one_row(session, LOCK_FIRST, **_whose(person, project), passed=list(passed))
    return row.id if row else None


def any_open(session: Session, person: Someone, project: Row) -> bool:
    """Whether any task looks open, those included that somebody is just claiming."""
    return bool(one_row(session, ANY_OPEN, **_whose(person, project), passed=[]).found)


def _whose(person: Someone, project: Row) -> dict[str, Any]:
    return {"person": person.id, "project": project.project_id, "languages": project.languages}


def take_place(
    session: Session, person: Someone, task_id: uuid.UUID, orders: str, turns: int, seconds: int
) -> TaskPlace | None:
    """Lease a place of a locked task; None if all are taken. Leases that ran out give theirs back.

    `orders` is a JSON list of the `turns` orders in which the responses are shown in turn.
    """
    key = uuid.uuid4()
    values = {"id": key, "task": task_id, "person": person.id, "orders": orders, "turns": turns, "seconds": seconds}
    row = one_row(session, TAKE_PLACE, **values)
    return TaskPlace(key, task_id, row.display_order, row.lease_until) if row else None


def save_draft(session: Session, person: Someone, assignment_id: uuid.UUID, payload: str) -> bool:
    """Keep the draft, given as JSON, while the assignment is leased to the person; False if it is not."""
    return bool(rows(session, SAVE_DRAFT, assignment=assignment_id, person=person.id, payload=payload))
