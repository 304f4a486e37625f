"""What is asked of the tables about judgements."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from annotation_api.db.membership import SEES
from annotation_api.db.places import running
from annotation_api.db.sql import one_row
from annotation_api.db.tables import Assignment, Person, Role, Submission, Task
from annotation_api.http.auth import Someone


def submission(session: Session, submission_id: uuid.UUID) -> Submission | None:
    return session.get(Submission, submission_id)


# The assignment in a project that the person sees, with its task's row, both locked; `before` is set if the submission
# came before, `paused` says why the person gives no new answers here.
JUDGED = f"""
SELECT a.task_id, a.state, {running("a")} AS live, t.gold, t.gold OR t.judged < t.overlap AS room, s.id AS before,
    CASE WHEN stands.paused_at IS NOT NULL THEN coalesce(stands.reason, '') END AS paused
FROM assignments a
JOIN tasks t ON t.id = a.task_id
JOIN projects p ON p.id = t.project_id
LEFT JOIN standings stands ON stands.project_id = t.project_id AND stands.person_id = a.person_id
LEFT JOIN submissions s ON s.id = %(submission)s
WHERE a.id = %(assignment)s AND a.person_id = %(person)s AND {SEES} FOR NO KEY UPDATE OF t, a
"""

# The row, unless its id is taken; then neither is anything else done. `first`: not a correction.
APPEND = """
WITH added AS (
    INSERT INTO submissions (id, assignment_id, supersedes, kind, payload, payload_hash, active_ms, total_ms)
    VALUES (%(id)s, %(assignment)s, %(supersedes)s, %(kind)s, %(payload)s::jsonb, %(digest)s, %(active)s, %(total)s)
    ON CONFLICT DO NOTHING RETURNING assignment_id, created_at
), answered AS (
    UPDATE assignments SET state = 'submitted' FROM added WHERE assignments.id = added.assignment_id AND %(first)s
), counted AS (
    UPDATE tasks SET judged = judged + 1 FROM added WHERE tasks.id = %(task)s AND %(first)s AND NOT tasks.gold
), done AS (
    DELETE FROM drafts USING added WHERE drafts.assignment_id = added.assignment_id
)
SELECT created_at FROM added
"""


def lock_judged(session: Session, person: Someone, assignment_id: uuid.UUID, submission_id: uuid.UUID) -> Any:
    """The person's own assignment and its task, as they are under the locks; None if there is none."""
    values = {"assignment": assignment_id, "person": person.id, "submission": submission_id}
    return one_row(session, JUDGED, **values, everything=person.role is Role.ADMIN)


def append(session: Session, values: dict[str, object]) -> datetime | None:
    """Append a submission, count it, and drop the draft; None if its id is taken, else when it was."""
    row = one_row(session, APPEND, **values)
    return row.created_at if row else None


def author_of(session: Session, row: Submission) -> uuid.UUID:
    return row.person_id


def project_of(session: Session, row: Submission) -> uuid.UUID:
    return row.project_id


def successor_of(session: Session, submission_id: uuid.UUID) -> uuid.UUID | None:
    return session.scalar(select(Submission.id).where(Submission.supersedes == submission_id))


def current_of(session: Session, assignment_id: uuid.UUID) -> Submission | None:
    """The newest submission of an assignment."""
    return session.scalar(
        select(Submission).where(Submission.assignment_id == assignment_id).order_by(Submission.seq.desc()).limit(1)
    )


def submissions(*, project: uuid.UUID | None, person: Someone | None) -> Select[Submission]:
    query = select(Submission)
    if project is not None:
        query = query.where(Submission.project_id == project)
    if person is not None:
        query = query.where(Submission.person_id == person.id)
    return query


def contexts(session: Session, rows: Collection[Submission]) -> dict[uuid.UUID, tuple[uuid.UUID, uuid.UUID, str]]:
    """Task, project and pseudonym by assignment."""
    found = session.execute(
        select(Assignment.id, Task.id, Task.project_id, Person.pseudonym)
        .join(Task, Task.id == Assignment.task_id)
        .join(Person, Person.id == Assignment.person_id)
        .where(Assignment.id.in_({row.assignment_id for row in rows}))
    )
    return {assignment: (task, project, pseudonym) for assignment, task, project, pseudonym in found}


def superseded(session: Session, rows: Collection[Submission]) -> set[uuid.UUID | None]:
    query = select(Submission.supersedes).where(Submission.supersedes.in_({row.id for row in rows}))
    return set(session.scalars(query))


def last_of(session: Session, person: Someone, project_id: uuid.UUID) -> Submission | None:
    """The person's newest judgement in a project."""
    query = submissions(project=project_id, person=person)
    return session.scalar(query.order_by(Submission.seq.desc()).limit(1))


def judged_today(session: Session, person: Someone, project_id: uuid.UUID) -> int:
    """Tasks first judged by the person since midnight UTC; corrections do not count again."""
    return judged_today_in(session, person, [project_id])[project_id]


def judged_today_in(session: Session, person: Someone, projects: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
    """The same of several projects."""
    query = (
        select(Submission.project_id, func.count())
        .where(
            Submission.project_id.in_(projects),
            Submission.person_id == person.id,
            Submission.supersedes.is_(None),
            Submission.created_at >= func.date_trunc("day", func.now(), "UTC"),
        )
        .group_by(Submission.project_id)
    )
    return dict.fromkeys(projects, 0) | {row[0]: row[1] for row in session.execute(query)}
