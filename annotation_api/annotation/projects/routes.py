"""/v1/projects beyond making and listing: changes, versions of forms, tasks from a data set."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from annotation_api.annotation.projects import from_dataset
from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.projects.schemas import (
    FormVersions,
    FromDataset,
    FromDatasetOut,
    ProjectPatch,
    TaskChoice,
    TasksBack,
    TasksRemoved,
)
from annotation_api.annotation.tasks import removal
from annotation_api.annotation.tasks.schemas import ProjectOut
from annotation_api.http.dependencies import ENGINEERS, READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute, as_json
from annotation_api.http.idempotency import Once

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["annotation"], route_class=DoorRoute)


@router.patch("", dependencies=[allow(*ENGINEERS)])
def change_project(project_id: uuid.UUID, body: ProjectPatch, session: Db, me: Me) -> ProjectOut:
    """Change a project; a changed form becomes a new version, and tasks keep the version they were made with."""
    project = projects.change_project(session, me, projects.find_project(session, project_id), body)
    return projects.show_project(session, me, project)


@router.get("/forms", dependencies=[allow(*READS_RUNS)])
def list_forms(project_id: uuid.UUID, session: Db) -> FormVersions:
    """All versions of a project's forms, with the number of tasks made with each."""
    return FormVersions(items=projects.form_versions(session, projects.find_project(session, project_id)))


@router.post("/tasks:from-dataset", status_code=201, response_model=FromDatasetOut, dependencies=[allow(*ENGINEERS)])
def tasks_from_dataset(project_id: uuid.UUID, body: FromDataset, session: Db, once: Once) -> Response:
    """Make tasks from an imported data set; asking again adds only what is not a task yet."""
    project = projects.find_project(session, project_id)
    if body.dry_run:
        return as_json(from_dataset.add_from_dataset(session, project, body))
    return once.run(
        lambda: from_dataset.add_from_dataset(session, project, body), location=f"/v1/projects/{project_id}/tasks"
    )


@router.post("/tasks:remove", dependencies=[allow(*ENGINEERS)])
def remove_tasks(project_id: uuid.UUID, body: TaskChoice, session: Db) -> TasksRemoved:
    """Take tasks out of the queue. What was judged stays and counts; what nobody had is deleted."""
    gone = removal.remove(session, _choice(session, project_id, body), body.ids)
    return TasksRemoved(deleted=gone.deleted, kept=gone.kept)


@router.post("/tasks:restore", dependencies=[allow(*ENGINEERS)])
def restore_tasks(project_id: uuid.UUID, body: TaskChoice, session: Db) -> TasksBack:
    """Put tasks that were taken out, and not deleted, into the queue again."""
    return TasksBack(tasks=removal.bring_back(session, _choice(session, project_id, body), body.ids))


def _choice(session: Session, project_id: uuid.UUID, body: TaskChoice) -> removal.TaskFilter:
    project = projects.find_project(session, project_id)
    return removal.TaskFilter(project.id, body.state or "", body.words or "", body.dataset, body.since, body.until)
