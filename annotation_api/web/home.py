"""The first page of each role, and a project's page."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from annotation_api.db.tables import Dataset, Job, ModelVersion, Person, Project, Role
from annotation_api.dependencies import ANNOTATES, ENGINEERS, SIGNED_IN, Db, Me, allow
from annotation_api.errors import ApiError, from_validation
from annotation_api.feedback import queries as judgements
from annotation_api.tasks import projects
from annotation_api.tasks import queries as tasks
from annotation_api.tasks.schemas import NewProject
from annotation_api.web import queries
from annotation_api.web.rendering import read_form, render, see_other, text_of

router = APIRouter()
Form = Annotated[FormData, Depends(read_form)]
RECENT = 5


@router.get("/", dependencies=[allow(*SIGNED_IN)])
def home(request: Request, session: Db, me: Me) -> Response:
    return _home(request, session, me)


@router.post("/projects", dependencies=[allow(*ENGINEERS)])
def create_project(request: Request, form: Form, session: Db, me: Me) -> Response:
    values = {name: text_of(form, name) for name in ("name", "guidelines", "overlap")}
    try:
        project = projects.create_project(session, me, _new_project(values))
    except ApiError as error:
        return _home(request, session, me, values=values, error=error)
    return see_other(f"/projects/{project.id}")


def _new_project(values: dict[str, str]) -> NewProject:
    try:
        return NewProject.model_validate(values)
    except ValidationError as error:
        raise from_validation(error, NewProject) from None


def _home(
    request: Request,
    session: Session,
    me: Person,
    *,
    values: dict[str, str] | None = None,
    error: ApiError | None = None,
) -> Response:
    rows = queries.newest(session, Project)
    reads_runs, engineer = me.role != Role.ANNOTATOR, me.role in ENGINEERS
    return render(
        request,
        "home.html",
        me,
        error.status if error else 200,
        projects=projects.show_projects(session, rows),
        left={row.id: tasks.left_for(session, me, row.id) for row in rows} if me.role in ANNOTATES else {},
        done={row.id: judgements.judged_today(session, me, row.id) for row in rows} if me.role in ANNOTATES else {},
        jobs=queries.newest(session, Job, RECENT) if reads_runs else [],
        models=queries.newest(session, ModelVersion, RECENT) if reads_runs else [],
        datasets=queries.newest(session, Dataset, RECENT) if engineer else [],
        values=values or {},
        error=error.detail if error else None,
    )


@router.get("/projects/{project_id}", dependencies=[allow(*SIGNED_IN)])
def project_page(project_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    project = projects.find_project(session, project_id)
    return render(
        request,
        "project.html",
        me,
        project=projects.show_project(session, me, project),
        left=tasks.left_for(session, me, project.id) if me.role in ANNOTATES else None,
    )
