"""What is asked of the tables about judgements."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from annotation_api.db.tables import Assignment, AssignmentState, Person, Submission, Task


def submission(session: Session, submission_id: uuid.UUID) -> Submission | None:
    return session.get(Submission, submission_id)


def add_submission(session: Session, row: dict[str, object]) -> bool:
    """Append the row; False if the id is taken."""
    query = insert(Submission).values(row).on_conflict_do_nothing().returning(Submission.id)
    return session.scalar(query) is not None


def author_of(session: Session, row: Submission) -> uuid.UUID:
    return session.scalars(select(Assignment.person_id).where(Assignment.id == row.assignment_id)).one()


def successor_of(session: Session, submission_id: uuid.UUID) -> uuid.UUID | None:
    return session.scalar(select(Submission.id).where(Submission.supersedes == submission_id))


def current_of(session: Session, assignment_id: uuid.UUID) -> Submission | None:
    """The newest submission of an assignment."""
    return session.scalar(
        select(Submission).where(Submission.assignment_id == assignment_id).order_by(Submission.seq.desc()).limit(1)
    )


def submissions(*, project: uuid.UUID | None, person: Person | None) -> Select[Submission]:
    query = select(Submission).join(Assignment, Assignment.id == Submission.assignment_id)
    query = query.join(Task, Task.id == Assignment.task_id)
    if project is not None:
        query = query.where(Task.project_id == project)
    if person is not None:
        query = query.where(Assignment.person_id == person.id)
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


def last_of(session: Session, person: Person, project_id: uuid.UUID) -> Submission | None:
    """The person's newest judgement in a project."""
    query = submissions(project=project_id, person=person)
    return session.scalar(query.order_by(Submission.seq.desc()).limit(1))


def judged_today(session: Session, person: Person, project_id: uuid.UUID) -> int:
    """Tasks first judged by the person since midnight UTC; corrections do not count again."""
    query = (
        select(func.count())
        .select_from(Submission)
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .where(
            Task.project_id == project_id,
            Assignment.person_id == person.id,
            Assignment.state == AssignmentState.SUBMITTED,
            Submission.supersedes.is_(None),
            Submission.created_at >= func.date_trunc("day", func.now(), "UTC"),
        )
    )
    return session.scalar(query) or 0
