"""/v1/projects with their tasks, /next, and /v1/assignments."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Response

from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.queue import service
from annotation_api.annotation.tasks import queries
from annotation_api.annotation.tasks.schemas import (
    AssignmentOut,
    Lease,
    NewDraft,
    NewProject,
    NewTasks,
    ProjectOut,
    Skip,
    TaskIds,
    TaskOut,
)
from annotation_api.db.sql import commit_lightly
from annotation_api.db.tables import Project, Task
from annotation_api.http.auth import Caller
from annotation_api.http.dependencies import ANNOTATES, ENGINEERS, READS_RUNS, SIGNED_IN, Db, Me, allow, allow_alone
from annotation_api.http.entry.route import DoorRoute, as_json
from annotation_api.http.idempotency import Once
from annotation_api.http.pagination import Cursor, Limit, NextPage, Page, fetch_rows

router = APIRouter(prefix="/v1", tags=["annotation"], route_class=DoorRoute)
daily = APIRouter(prefix="/v1", tags=["annotation"], route_class=DoorRoute)
Annotator = Annotated[Caller, allow_alone(*ANNOTATES)]


@router.post("/projects", status_code=201, response_model=ProjectOut, dependencies=[allow(*ENGINEERS)])
def create_project(body: NewProject, session: Db, me: Me, once: Once) -> Response:
    """A project: guidelines, and how many people judge each task."""
    return once.run(
        lambda: projects.show_project(session, me, projects.create_project(session, me, body)),
        location="/v1/projects/{id}",
    )


@router.get("/projects", dependencies=[allow(*SIGNED_IN)])
def list_projects(session: Db, more: NextPage, limit: Limit = 100, cursor: Cursor = None) -> Page[ProjectOut]:
    """All projects with their counts, newest first."""
    rows, after = fetch_rows(session, queries.projects(), Project, limit=limit, cursor=cursor)
    return more.page(projects.show_projects(session, rows), after)


@router.get("/projects/{project_id}", dependencies=[allow(*SIGNED_IN)])
def show_project(project_id: uuid.UUID, session: Db, me: Me) -> ProjectOut:
    """A project with its counts; also by person, but not for annotators."""
    return projects.show_project(session, me, projects.find_project(session, project_id))


@router.post("/projects/{project_id}/tasks", status_code=201, response_model=TaskIds, dependencies=[allow(*ENGINEERS)])
def add_tasks(project_id: uuid.UUID, body: NewTasks, session: Db, once: Once) -> Response:
    """Add one task or a list of up to 1000, all or none."""
    return once.run(
        lambda: TaskIds(ids=projects.add_tasks(session, projects.find_project(session, project_id), body)),
        location=f"/v1/projects/{project_id}/tasks",
    )


@router.get("/projects/{project_id}/tasks", dependencies=[allow(*READS_RUNS)])
def list_tasks(
    project_id: uuid.UUID, session: Db, more: NextPage, me: Me, limit: Limit = 100, cursor: Cursor = None
) -> Page[TaskOut]:
    """A project's tasks with their responses, newest first."""
    projects.find_project(session, project_id)
    rows, after = fetch_rows(session, queries.tasks_of(project_id), Task, limit=limit, cursor=cursor)
    return more.page(projects.show_tasks(session, me, rows), after)


@daily.post(
    "/projects/{project_id}/next",
    response_model=AssignmentOut,
    responses={204: {"description": "Nothing is left for you."}},
)
def next_task(
    project_id: uuid.UUID,
    session: Db,
    me: Annotator,
    besides: Annotated[uuid.UUID | None, Query(description="Another one than this assignment, ahead of time.")] = None,
) -> Response:
    """The caller's task in hand, else the next of the queue, leased; 204 when nothing is left."""
    held = service.next_in(session, me, project_id, besides)
    return as_json(service.show_assignment(session, held)) if held else Response(status_code=204)


@daily.post("/assignments/{assignment_id}:renew", response_model=Lease)
def renew_lease(assignment_id: uuid.UUID, session: Db, me: Annotator) -> Response:
    """Heartbeat: keep the task for another lease."""
    commit_lightly(session)
    return as_json(Lease(lease_until=service.renew(session, me, assignment_id).lease_until))


@daily.post("/assignments/{assignment_id}:skip", status_code=204)
def skip_task(assignment_id: uuid.UUID, body: Skip, session: Db, me: Annotator) -> Response:
    """Pass on a task, with a reason."""
    service.skip(session, me, assignment_id, body.reason)
    return Response(status_code=204)


@daily.put("/assignments/{assignment_id}/draft", status_code=204)
def save_draft(assignment_id: uuid.UUID, body: NewDraft, session: Db, me: Annotator) -> Response:
    """Keep what stands in the form. It is never an answer, and gone once there is one."""
    commit_lightly(session)
    service.save_draft(session, me, assignment_id, body.payload)
    return Response(status_code=204)
