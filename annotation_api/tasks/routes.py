"""/v1/projects with their tasks, /next, and /v1/assignments."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Response

from annotation_api.db.tables import Project, Task
from annotation_api.dependencies import ANNOTATES, ENGINEERS, READS_RUNS, SIGNED_IN, Db, Me, allow
from annotation_api.idempotency import Once
from annotation_api.pagination import Cursor, Limit, Page, fetch_rows
from annotation_api.tasks import projects, queries, service
from annotation_api.tasks.schemas import (
    AssignmentOut,
    Lease,
    NewProject,
    NewTasks,
    ProjectOut,
    Skip,
    TaskIds,
    TaskOut,
)

router = APIRouter(prefix="/v1", tags=["annotation"])


@router.post("/projects", status_code=201, response_model=ProjectOut, dependencies=[allow(*ENGINEERS)])
def create_project(body: NewProject, session: Db, me: Me, once: Once) -> Response:
    """A project: guidelines, and how many people judge each task."""
    return once.run(
        lambda: projects.show_project(session, me, projects.create_project(session, me, body)),
        location="/v1/projects/{id}",
    )


@router.get("/projects", dependencies=[allow(*SIGNED_IN)])
def list_projects(session: Db, limit: Limit = 100, cursor: Cursor = None) -> Page[ProjectOut]:
    """All projects with their counts, newest first."""
    rows, after = fetch_rows(session, queries.projects(), Project, limit=limit, cursor=cursor)
    return Page(items=projects.show_projects(session, rows), next=after)


@router.get("/projects/{project_id}", dependencies=[allow(*SIGNED_IN)])
def show_project(project_id: uuid.UUID, session: Db, me: Me) -> ProjectOut:
    """A project with its counts; also by person, but not for annotators."""
    return projects.show_project(session, me, projects.find_project(session, project_id))


@router.post("/projects/{project_id}/tasks", status_code=201, response_model=TaskIds, dependencies=[allow(*ENGINEERS)])
def add_tasks(project_id: uuid.UUID, body: NewTasks, session: Db, once: Once) -> Response:
    """Add one task or a list of up to 1000, all or none."""
    return once.run(lambda: TaskIds(ids=projects.add_tasks(session, projects.find_project(session, project_id), body)))


@router.get("/projects/{project_id}/tasks", dependencies=[allow(*READS_RUNS)])
def list_tasks(project_id: uuid.UUID, session: Db, me: Me, limit: Limit = 100, cursor: Cursor = None) -> Page[TaskOut]:
    """A project's tasks with their responses, newest first."""
    projects.find_project(session, project_id)
    rows, after = fetch_rows(session, queries.tasks_of(project_id), Task, limit=limit, cursor=cursor)
    return Page(items=projects.show_tasks(session, me, rows), next=after)


@router.post(
    "/projects/{project_id}/next",
    response_model=AssignmentOut,
    responses={204: {"description": "Nothing is left for you."}},
    dependencies=[allow(*ANNOTATES)],
)
def next_task(project_id: uuid.UUID, session: Db, me: Me) -> AssignmentOut | Response:
    """The caller's task in hand, else the next of the queue, leased; 204 when nothing is left."""
    assignment = service.next_assignment(session, me, projects.find_project(session, project_id))
    return service.show_assignment(session, assignment) if assignment else Response(status_code=204)


@router.post("/assignments/{assignment_id}:renew", dependencies=[allow(*ANNOTATES)])
def renew_lease(assignment_id: uuid.UUID, session: Db, me: Me) -> Lease:
    """Heartbeat: keep the task for another lease."""
    assignment = service.renew(session, me, assignment_id)
    session.refresh(assignment)
    return Lease(lease_until=assignment.lease_until)


@router.post("/assignments/{assignment_id}:skip", status_code=204, dependencies=[allow(*ANNOTATES)])
def skip_task(assignment_id: uuid.UUID, body: Skip, session: Db, me: Me) -> None:
    """Pass on a task, with a reason."""
    service.skip(session, me, assignment_id, body.reason)
