"""/v1/projects/{id}/members: who sees a project that is not open, and what hangs on it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from alignment.shared.validation import Problem
from annotation_api.annotation.projects import service as projects
from annotation_api.db.tables import Person, ProjectMember, Role
from annotation_api.http.dependencies import ENGINEERS, READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import invalid, not_found
from annotation_api.http.schemas import Body

router = APIRouter(prefix="/v1/projects/{project_id}/members", tags=["annotation"], route_class=DoorRoute)


class NewMember(Body):
    person: str = Field(max_length=254, description="Id, e-mail or pseudonym.")


class MemberOut(BaseModel):
    id: uuid.UUID
    pseudonym: str
    name: str | None = Field(description="For admins.")
    role: Role


class Members(BaseModel):
    items: list[MemberOut] = Field(description="By pseudonym.")


@router.get("", dependencies=[allow(*READS_RUNS)])
def list_members(project_id: uuid.UUID, session: Db, me: Me) -> Members:
    """Who sees the project, besides admins; of an open one, who would if it were not."""
    project = projects.find_project(session, project_id)
    return Members(items=[_shown(person, me) for person in _members(session, project.id)])


@router.post("", status_code=201, dependencies=[allow(*ENGINEERS)])
def add_member(project_id: uuid.UUID, body: NewMember, session: Db, me: Me) -> MemberOut:
    """Let a person in; doing it twice is the same."""
    project, person = projects.find_project(session, project_id), _find(session, body.person)
    session.execute(insert(ProjectMember).on_conflict_do_nothing(), {"project_id": project.id, "person_id": person.id})
    return _shown(person, me)


@router.delete("/{person_id}", status_code=204, dependencies=[allow(*ENGINEERS)])
def remove_member(project_id: uuid.UUID, person_id: uuid.UUID, session: Db) -> Response:
    """Let a person out again; what they did stays."""
    project = projects.find_project(session, project_id)
    gone = delete(ProjectMember).where(ProjectMember.project_id == project.id, ProjectMember.person_id == person_id)
    if session.execute(gone.returning(ProjectMember.person_id)).one_or_none() is None:
        raise not_found("member", person_id)
    return Response(status_code=204)


def _members(session: Session, project_id: uuid.UUID) -> Sequence[Person]:
    query = select(Person).join(ProjectMember, ProjectMember.person_id == Person.id)
    return session.scalars(query.where(ProjectMember.project_id == project_id).order_by(Person.pseudonym)).all()


def _find(session: Session, named: str) -> Person:
    """By id, e-mail or pseudonym."""
    key, words = _id(named), named.strip()
    same = (Person.email == words.lower()) | (Person.pseudonym == words)
    person = session.scalar(select(Person).where(Person.id == key if key else same))
    if person is None:
        raise invalid([Problem(pointer="/person", message="There is no such person.", value=named[:80])])
    return person


def _id(named: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(named)
    except ValueError:
        return None


def _shown(person: Person, viewer: Person) -> MemberOut:
    name = person.name if viewer.role is Role.ADMIN else None
    return MemberOut(id=person.id, pseudonym=person.pseudonym, name=name, role=person.role)
