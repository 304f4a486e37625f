"""What is asked of the tables about one person's own work. Days are UTC; times are seconds at work on a task."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session, aliased

from annotation_api.db.tables import (
    Assignment,
    AssignmentState,
    Draft,
    LoginSession,
    Person,
    Project,
    PromptRow,
    Submission,
    Task,
)
from annotation_api.db.tallies import counts

PAGE = 25
DAYS = 30
FIRST = Submission.supersedes.is_(None)  # corrections are not further tasks
MEDIAN = func.percentile_cont(0.5).within_group(Submission.active_ms).filter(FIRST) / 1000.0  # seconds


def own_items(
    session: Session, person: Person, project: uuid.UUID | None, before: int | None
) -> tuple[Sequence[Any], int | None]:
    """A page of the person's answers as they stand now, newest first, and where the next page begins."""
    later = aliased(Submission)
    query = _with_task(select(Submission, Project, PromptRow.record, Task.kind)).where(
        Submission.person_id == person.id, ~select(later.id).where(later.supersedes == Submission.id).exists()
    )
    if project is not None:
        query = query.where(Submission.project_id == project)
    if before is not None:
        query = query.where(Submission.seq < before)
    rows = session.execute(query.order_by(Submission.seq.desc()).limit(PAGE + 1)).all()
    return rows[:PAGE], rows[PAGE - 1][0].seq if len(rows) > PAGE else None


def _with_task(query: Select[Any]) -> Select[Any]:
    return (
        query.select_from(Submission)
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .join(PromptRow, PromptRow.id == Task.prompt_id)
    )


def own_drafts(session: Session, person: Person) -> Sequence[Any]:
    """Tasks in hand in which something was begun: (draft, project, the prompt's record)."""
    return session.execute(
        select(Draft, Project, PromptRow.record)
        .join(Assignment, Assignment.id == Draft.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .join(PromptRow, PromptRow.id == Task.prompt_id)
        .where(Assignment.person_id == person.id, Assignment.state == AssignmentState.LEASED)
        .order_by(Draft.updated_at.desc())
    ).all()


def own_projects(session: Session, person: Person) -> Sequence[Project]:
    """Projects in which the person answered something."""
    mine = counts.judged_by(session, person.id)
    return session.scalars(select(Project).where(Project.id.in_(mine)).order_by(Project.name)).all()


def by_day(session: Session, person: Person, project: uuid.UUID | None) -> Sequence[Any]:
    """(day, tasks, median seconds or None) of the last DAYS days with work, oldest first."""
    day = func.date_trunc("day", Submission.created_at, "UTC")
    recent = Submission.created_at >= func.date_trunc("day", func.now(), "UTC") - func.make_interval(0, 0, 0, DAYS - 1)
    query = _own(select(day.label("day"), func.count().label("tasks"), MEDIAN.label("seconds")), person.id)
    if project is not None:
        query = query.where(Submission.project_id == project)
    return session.execute(query.where(recent).group_by(day).order_by(day)).all()


def this_week(session: Session, person: Person) -> Any:
    """(tasks judged today, tasks judged since Monday, their median seconds or None), in one look at the week's."""
    today, monday = (func.date_trunc(unit, func.now(), "UTC") for unit in ("day", "week"))
    numbers: Select[Any] = select(func.count().filter(Submission.created_at >= today), func.count(), MEDIAN)
    return session.execute(_own(numbers, person.id).where(Submission.created_at >= monday)).one()


def _own(query: Select[Any], person_id: uuid.UUID) -> Select[Any]:
    return query.select_from(Submission).where(Submission.person_id == person_id, FIRST)


def by_project(session: Session, person_id: uuid.UUID) -> Sequence[Any]:
    """(project, judged, skipped, corrections, median seconds) of every project the person worked in."""
    return session.execute(
        select(
            Project,
            _assignments(AssignmentState.SUBMITTED).label("judged"),
            _assignments(AssignmentState.SKIPPED).label("skipped"),
            func.count(Submission.supersedes).label("corrections"),
            MEDIAN.label("seconds"),
        )
        .select_from(Assignment)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .outerjoin(Submission, Submission.assignment_id == Assignment.id)
        .where(Assignment.person_id == person_id)
        .group_by(Project.id)
        .order_by(Project.name)
    ).all()


def _assignments(state: AssignmentState) -> ColumnElement[int]:
    return func.count(Assignment.id.distinct()).filter(Assignment.state == state)


def last_seen(session: Session, person_id: uuid.UUID) -> datetime | None:
    """The last sign-in, task taken or answer given that is still on record."""
    signed_in = select(func.max(LoginSession.created_at)).where(LoginSession.person_id == person_id)
    took = select(func.max(Assignment.created_at)).where(Assignment.person_id == person_id)
    answered = _own(select(func.max(Submission.created_at)), person_id)
    return session.scalar(
        select(func.greatest(signed_in.scalar_subquery(), took.scalar_subquery(), answered.scalar_subquery()))
    )
