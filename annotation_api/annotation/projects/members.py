"""/v1/projects/{id}/members: who sees a project that is not open, and what hangs on it."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.annotation.projects import service as projects
from annotation_api.db import places
from annotation_api.db.tables import Person, Project, ProjectMember, Role
from annotation_api.http.dependencies import ENGINEERS, READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import invalid, not_found
from annotation_api.http.schemas import Body

router = APIRouter(prefix="/v1/projects/{project_id}/members", tags=["annotation"], route_class=DoorRoute)


Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]


class NewMember(Body):
    person: str = Field(max_length=254, description="Id, e-mail or pseudonym.")
    languages: list[Language] | None = Field(
        default=None,
        min_length=1,
        max_length=20,
        description="Of the prompts that they get, such as en or zh; a prompt without one is for all. Unset: any.",
    )


class MemberOut(BaseModel):
    id: uuid.UUID
    pseudonym: str
    name: str | None = Field(description="For admins.")
    role: Role
    languages: list[str] | None = Field(description="Of the prompts that they get; null: any.")


class Members(BaseModel):
    items: list[MemberOut] = Field(description="By pseudonym.")


@router.get("", dependencies=[allow(*READS_RUNS)])
def list_members(project_id: uuid.UUID, session: Db, me: Me) -> Members:
    """Who sees the project, besides admins; of an open one, who would if it were not."""
    project = projects.find_project(session, project_id)
    return Members(items=[_shown(person, languages, me) for person, languages in members(session, project.id)])


@router.post("", status_code=201, dependencies=[allow(*ENGINEERS)])
def add_member(project_id: uuid.UUID, body: NewMember, session: Db, me: Me) -> MemberOut:
    """Let a person in, or give a member other languages; doing it twice is the same."""
    project = projects.find_project(session, project_id)
    return _shown(add(session, project, body), body.languages, me)


@router.delete("/{person_id}", status_code=204, dependencies=[allow(*ENGINEERS)])
def remove_member(project_id: uuid.UUID, person_id: uuid.UUID, session: Db) -> Response:
    """Let a person out again; what they did stays, what they had in hand goes back into the queue."""
    remove(session, projects.find_project(session, project_id), person_id)
    return Response(status_code=204)


def add(session: Session, project: Project, new: NewMember) -> Person:
    """Let in whom the id, e-mail or pseudonym names; 422 for nobody."""
    person = _find(session, new.person)
    joined = insert(ProjectMember).values(project_id=project.id, person_id=person.id, languages=new.languages)
    key = [ProjectMember.project_id, ProjectMember.person_id]
    session.execute(joined.on_conflict_do_update(index_elements=key, set_={"languages": new.languages}))
    return person


def remove(session: Session, project: Project, person_id: uuid.UUID) -> None:
    """404 for who is no member."""
    gone = delete(ProjectMember).where(ProjectMember.project_id == project.id, ProjectMember.person_id == person_id)
    if session.execute(gone.returning(ProjectMember.person_id)).one_or_none() is None:
        raise not_found("member", person_id)
    places.give_back_unseen(session, project.id)


def members(session: Session, project_id: uuid.UUID) -> list[tuple[Person, list[str] | None]]:
    """Each with the languages that they get, by pseudonym."""
    query = select(Person, ProjectMember.languages).join(ProjectMember, ProjectMember.person_id == Person.id)
    rows = session.execute(query.where(ProjectMember.project_id == project_id).order_by(Person.pseudonym))
    return [(person, languages) for person, languages in rows]


def _find(session: Session, named: str) -> Person:
    """By id, e-mail or pseudonym."""
    key, words = _id(named), named.strip()
    same = (Person.email == words.lower()) | (Person.pseudonym == words)
    person = session.scalar(select(Person).where(Person.id == key if key else same))
    if person is None:
        raise invalid(
            [
                Problem(
                    pointer="/person", message=Sentence("no-such-person", "There is no such person."), value=named[:80]
                )
            ]
        )
    return person


def _id(named: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(named)
    except ValueError:
        return None


def _shown(person: Person, languages: list[str] | None, viewer: Person) -> MemberOut:
    name = person.name if viewer.role is Role.ADMIN else None
    return MemberOut(id=person.id, pseudonym=person.pseudonym, name=name, role=person.role, languages=languages)
