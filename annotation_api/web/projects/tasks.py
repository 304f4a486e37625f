"""The tasks of a project: found by state and words, looked at, taken out of the queue and brought back."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import TypeAdapter
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.tasks import removal
from annotation_api.annotation.tasks.contents import content_of
from annotation_api.annotation.tasks.removal import STATES, Removed, State, TaskFilter
from annotation_api.db.tables import Person, Project, Task
from annotation_api.http.dependencies import ENGINEERS, READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError, not_found
from annotation_api.http.pagination import fetch_rows
from annotation_api.web.markup.fields import Words
from annotation_api.web.markup.rendering import read_form, render, text_of
from annotation_api.web.projects import preview

router = APIRouter(prefix="/projects/{project_id}", route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]
PAGE = 50
STATE: TypeAdapter[State] = TypeAdapter(State)


@router.get("/tasks", dependencies=[allow(*READS_RUNS)])
def tasks_page(
    project_id: uuid.UUID,
    request: Request,
    session: Db,
    me: Me,
    state: State = "",
    q: Words = "",
    cursor: str | None = None,
) -> Response:
    """Newest first, of one state or with words in the prompt if asked for."""
    choice = TaskFilter(projects.find_project(session, project_id).id, state, q)
    return _tasks(request, session, me, choice, cursor=cursor or None)


@router.get("/tasks/{task_id}", dependencies=[allow(*READS_RUNS)])
def task_page(project_id: uuid.UUID, task_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    """The task as annotators see it."""
    project, task = projects.find_project(session, project_id), session.get(Task, task_id)
    if task is None or task.project_id != project.id:
        raise not_found("task", task_id)
    return preview.show_task(request, me, content_of(session, task.id), project)


@router.post("/tasks/remove", dependencies=[allow(*ENGINEERS)])
def remove(project_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    """Take out the ticked tasks, all that were found, or those of one fill."""
    choice = _chosen(projects.find_project(session, project_id), form)
    gone = removal.remove(session, choice, _ticked(form))
    return _tasks(request, session, me, TaskFilter(project_id, choice.state, choice.words), gone=gone)


@router.post("/tasks/restore", dependencies=[allow(*ENGINEERS)])
def restore(project_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    """Bring back the ticked tasks, or all that were found."""
    choice = _chosen(projects.find_project(session, project_id), form)
    back = removal.bring_back(session, choice, _ticked(form))
    return _tasks(request, session, me, choice, back=back)


def _chosen(project: Project, form: FormData) -> TaskFilter:
    try:
        since, until = (datetime.fromisoformat(text) if (text := text_of(form, name)) else None for name in TIMES)
        dataset = uuid.UUID(text) if (text := text_of(form, "dataset")) else None
        state = STATE.validate_python(text_of(form, "state"))
    except ValueError:
        raise ApiError(
            422, "invalid", Sentence("form-without-fill", "The form came without its fill. Open the page again.")
        ) from None
    return TaskFilter(project.id, state, text_of(form, "q")[:200], dataset, since, until)


TIMES = ("since", "until")


def _ticked(form: FormData) -> list[uuid.UUID] | None:
    """None for all that the choice finds."""
    if text_of(form, "all") == "yes":
        return None
    try:
        return [uuid.UUID(str(key)) for key in form.getlist("task")]
    except ValueError:
        raise ApiError(
            422, "invalid", Sentence("form-without-id", "A task of the form has no id. Open the page again.")
        ) from None


def _tasks(
    request: Request,
    session: Session,
    me: Person,
    choice: TaskFilter,
    *,
    cursor: str | None = None,
    gone: Removed | None = None,
    back: int | None = None,
) -> Response:
    rows, after = fetch_rows(session, choice.tasks(), Task, limit=PAGE, cursor=cursor)
    context: dict[str, Any] = {"gone": gone, "back": back, "next": after, "first": not cursor}
    return render(
        request,
        "tasks.html",
        me,
        project=projects.find_project(session, choice.project_id),
        tasks=projects.show_tasks(session, me, rows),
        states=list(STATES),
        chosen={"state": choice.state, "q": choice.words},
        engineer=me.role in ENGINEERS,
        **context,
    )
