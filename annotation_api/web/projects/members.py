"""The page of a project's members: who sees it, who is let in or out, and whether it is open to everybody."""

from __future__ import annotations

import re
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.annotation.projects import members
from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.projects.members import NewMember
from annotation_api.annotation.projects.schemas import ProjectPatch
from annotation_api.db.tables import Person, Project, ProjectMember
from annotation_api.http.dependencies import ENGINEERS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError, invalid
from annotation_api.web.markup.rendering import read_form, render, see_other, text_of

router = APIRouter(prefix="/projects/{project_id}/members", dependencies=[allow(*ENGINEERS)], route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]


@router.get("")
def members_page(project_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    return _members(request, session, me, projects.find_project(session, project_id))


@router.post("")
def add(project_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    """Let in, or give other languages."""
    project = projects.find_project(session, project_id)
    named, spoken = text_of(form, "person")[:254], text_of(form, "languages")[:200]
    try:
        members.add(session, project, _new(named, spoken))
    except ApiError as error:
        wrong = error.problems[0].message
        return _members(request, session, me, project, named=named, spoken=spoken, error=wrong)
    return see_other(f"/projects/{project_id}/members")


def _new(named: str, spoken: str) -> NewMember:
    codes = [code for code in re.split(r"[\s,;，、]+", spoken.lower()) if code]
    try:
        return NewMember(person=named, languages=codes or None)
    except ValidationError:
        message = Sentence("languages-unreadable", "Languages are codes such as en or zh, with commas between them.")
        raise invalid([Problem(pointer="/languages", message=message, value=spoken)]) from None


@router.post("/{person_id}/remove")
def remove(project_id: uuid.UUID, person_id: uuid.UUID, session: Db) -> Response:
    members.remove(session, projects.find_project(session, project_id), person_id)
    return see_other(f"/projects/{project_id}/members")


@router.post("/open")
def set_open(project_id: uuid.UUID, form: Form, session: Db, me: Me) -> Response:
    """To everybody, or to members and admins; who shuts it stays in."""
    project, wide = projects.find_project(session, project_id), text_of(form, "open") == "yes"
    if not wide and session.get(ProjectMember, (project.id, me.id)) is None:  # who is in keeps their languages
        members.add(session, project, NewMember(person=str(me.id)))
    projects.change_project(session, me, project, ProjectPatch(open=wide))
    return see_other(f"/projects/{project_id}/members")


def _members(
    request: Request,
    session: Session,
    me: Person,
    project: Project,
    *,
    named: str = "",
    spoken: str = "",
    error: str | None = None,
) -> Response:
    return render(
        request,
        "members.html",
        me,
        422 if error else 200,
        project=project,
        members=members.members(session, project.id),
        named=named,
        spoken=spoken,
        error=error,
    )
