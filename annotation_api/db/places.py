"""A task has `overlap` places. What takes one, said once, for statements in SQL text and in SQLAlchemy's words.

Time is the database's clock at the moment of the look, not of the transaction's start. Who locks people, tasks and
assignments takes them in this order, and each kind by its ids: then nobody waits for somebody who waits for them.
"""

from __future__ import annotations

import uuid

from sqlalchemy import Boolean, ColumnElement, func, literal_column, select, update
from sqlalchemy.orm import Session

from annotation_api.db.locks import lock_person
from annotation_api.db.tables import Assignment, AssignmentState, Person, Project, ProjectMember, Role, Task


def running(assignments: str = "assignments") -> str:
    """SQL: the lease of a row of `assignments` (the name or its alias) has not run out."""
    return f"({assignments}.state = 'leased' AND {assignments}.lease_until > clock_timestamp())"


def taken(assignments: str = "assignments") -> str:
    """SQL: a row takes a place, by a submission or by a lease that still runs."""
    return f"({assignments}.state = 'submitted' OR {running(assignments)})"


def takes_place() -> ColumnElement[bool]:
    """`taken` of the table Assignment."""
    return literal_column(taken(), Boolean)


def is_running(assignments: str) -> ColumnElement[bool]:
    """`running` of an alias of the table Assignment."""
    return literal_column(running(assignments), Boolean)


def give_back_all(session: Session, person_id: uuid.UUID) -> int:
    """The leases of somebody who may not sign in any more; how many there were. Drafts stay with them."""
    lock_person(session, person_id)
    return give_back(session, Assignment.person_id == person_id)


def give_back_unseen(session: Session, project_id: uuid.UUID) -> int:
    """The leases of those who do not see the project; how many there were."""
    closed = select(Project.id).where(Project.id == project_id, ~Project.open).scalar_subquery()
    members = select(ProjectMember.person_id).where(ProjectMember.project_id == project_id)
    admins = select(Person.id).where(Person.role == Role.ADMIN)
    tasks = select(Task.id).where(Task.project_id == closed)
    hidden = Assignment.person_id.not_in(members) & Assignment.person_id.not_in(admins)
    theirs = Assignment.task_id.in_(tasks) & hidden
    _lock_holders(session, theirs)
    return give_back(session, theirs)


def give_back_in(session: Session, project_id: uuid.UUID, person_id: uuid.UUID) -> int:
    """The leases in a project of a person whose row is locked; how many there were."""
    tasks = select(Task.id).where(Task.project_id == project_id)
    return give_back(session, Assignment.task_id.in_(tasks) & (Assignment.person_id == person_id))


def _lock_holders(session: Session, whose: ColumnElement[bool]) -> None:
    """Who holds such a lease claims and answers nothing until this transaction ends."""
    holders = select(Assignment.person_id).where(whose, Assignment.state == AssignmentState.LEASED)
    people = select(Person.id).where(Person.id.in_(holders)).order_by(Person.id)
    session.execute(people.with_for_update(key_share=True))


def give_back(session: Session, whose: ColumnElement[bool]) -> int:
    """These leases end; how many there were. Those that somebody is just renewing or answering are waited for."""
    leased = select(Assignment.id).where(whose, Assignment.state == AssignmentState.LEASED).order_by(Assignment.id)
    held = Assignment.id.in_(leased.with_for_update())
    ended = update(Assignment).where(held, Assignment.state == AssignmentState.LEASED)
    ended = ended.values(state=AssignmentState.EXPIRED, lease_until=func.least(Assignment.lease_until, func.now()))
    return len(session.execute(ended.returning(Assignment.id)).all())
