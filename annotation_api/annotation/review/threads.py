"""Messages about a task between the person who has or had it and those who look after the project.

The person may ask from a task in hand. What is said to them waits until they open the thread; what they ask waits
until somebody answers, or says that it needs no answer.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.orm import Session, aliased

from annotation_api.annotation.review.schemas import Words
from annotation_api.annotation.tasks.queries import refuse_erased
from annotation_api.db.membership import reads_answers
from annotation_api.db.tables import (
    Assignment,
    Comment,
    Person,
    Project,
    ProjectMember,
    PromptRow,
    Role,
    Task,
)
from annotation_api.http.errors import not_found
from annotation_api.http.schemas import Body

MOST_WAITING = 100


class NewComment(Body):
    text: Words


class CommentOut(BaseModel):
    id: uuid.UUID
    author: str = Field(description="A pseudonym.")
    own: bool
    asks: bool = Field(description="From the person of the task; otherwise to them.")
    text: str
    created_at: datetime
    settled_at: datetime | None = Field(description="Since when it waits for nobody.")


class Thread(BaseModel):
    assignment: uuid.UUID
    task: uuid.UUID
    project: uuid.UUID
    items: list[CommentOut] = Field(description="Oldest first.")


class WaitingItem(BaseModel):
    """A message that waits for the caller."""

    assignment: uuid.UUID
    task: uuid.UUID
    project: uuid.UUID
    project_name: str
    prompt: dict[str, Any]
    author: str
    asks: bool
    text: str
    created_at: datetime


class WaitingMessages(BaseModel):
    items: list[WaitingItem] = Field(description="Oldest first, 100 at most.")


def find(session: Session, viewer: Person, assignment_id: uuid.UUID) -> tuple[Assignment, Task]:
    """The assignment, for its person, and for those who read annotations in a project that they see."""
    row = session.execute(
        select(Assignment, Task).join(Task, Task.id == Assignment.task_id).where(Assignment.id == assignment_id)
    ).one_or_none()
    if row is None or not _may_read(session, viewer, *row):
        raise not_found("assignment", assignment_id)
    return row[0], row[1]


def _may_read(session: Session, viewer: Person, assignment: Assignment, task: Task) -> bool:
    """The person of the assignment, too, only while they see its project."""
    own = assignment.person_id == viewer.id and session.get(Project, task.project_id) is not None
    return own or reads_answers(session, viewer.role, task.project_id)


def write(session: Session, me: Person, assignment: Assignment, text: str) -> Comment:
    """Add a message; an answer settles what was asked before it. 409 once the task is erased."""
    refuse_erased(session, session.get_one(Task, assignment.task_id))
    asks = assignment.person_id == me.id
    row = Comment(assignment_id=assignment.id, author_id=me.id, text=text, asks=asks, created_at=func.clock_timestamp())
    if not asks:
        settle(session, assignment.id, asks=True)
    session.add(row)
    session.flush()
    return row


def settle(session: Session, assignment_id: uuid.UUID, *, asks: bool) -> None:
    """What was asked (or said to the person) waits no more."""
    waits = (Comment.assignment_id == assignment_id, Comment.settled_at.is_(None), Comment.asks == asks)
    session.execute(update(Comment).where(*waits).values(settled_at=func.now()))


def show(session: Session, viewer: Person, assignment: Assignment, task: Task) -> Thread:
    rows = session.execute(
        select(Comment, Person.pseudonym)
        .join(Person, Person.id == Comment.author_id)
        .where(Comment.assignment_id == assignment.id)
        .order_by(Comment.created_at, Comment.id)
    )
    items = [_shown(row, author, viewer) for row, author in rows]
    return Thread(assignment=assignment.id, task=task.id, project=task.project_id, items=items)


def _shown(row: Comment, author: str, viewer: Person) -> CommentOut:
    return CommentOut(
        id=row.id,
        author=author,
        own=row.author_id == viewer.id,
        asks=row.asks,
        text=row.text,
        created_at=row.created_at,
        settled_at=row.settled_at,
    )


# ---------------------------------------------------------------- the bell


def _waits_for(viewer: Person) -> ColumnElement[bool]:
    """Said to the viewer; or asked in a project that the viewer made, belongs to as a reviewer, or runs as an admin, or
    in a thread to which the viewer wrote."""
    said = ~Comment.asks & (Assignment.person_id == viewer.id)
    if viewer.role is Role.ANNOTATOR:
        return said
    member = select(ProjectMember.project_id).where(ProjectMember.person_id == viewer.id)
    own = Project.created_by == viewer.id
    cared = own | Project.id.in_(member) if viewer.role is not Role.ADMIN else own | (Project.id == Project.id)
    earlier = aliased(Comment)
    wrote = exists().where(earlier.assignment_id == Comment.assignment_id, earlier.author_id == viewer.id)
    return said | (Comment.asks & (cared | wrote) & (Assignment.person_id != viewer.id))


def count_waiting(session: Session, viewer: Person) -> int:
    """Of projects that the viewer sees: those of the page, so they are counted by their project."""
    query = select(func.count(Project.id)).select_from(Comment).join(Assignment, Assignment.id == Comment.assignment_id)
    query = query.join(Task, Task.id == Assignment.task_id).join(Project, Project.id == Task.project_id)
    return session.scalar(query.where(Comment.settled_at.is_(None), _waits_for(viewer))) or 0


def waiting(session: Session, viewer: Person) -> list[WaitingItem]:
    """What waits for the viewer, oldest first."""
    rows: Sequence[Any] = session.execute(
        select(Comment, Task, Project, PromptRow.record, Person.pseudonym)
        .join(Assignment, Assignment.id == Comment.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .join(PromptRow, PromptRow.id == Task.prompt_id)
        .join(Person, Person.id == Comment.author_id)
        .where(Comment.settled_at.is_(None), _waits_for(viewer))
        .order_by(Comment.created_at, Comment.id)
        .limit(MOST_WAITING)
    ).all()
    return [
        WaitingItem(
            assignment=row.assignment_id,
            task=task.id,
            project=project.id,
            project_name=project.name,
            prompt=record,
            author=author,
            asks=row.asks,
            text=row.text,
            created_at=row.created_at,
        )
        for row, task, project, record, author in rows
    ]
