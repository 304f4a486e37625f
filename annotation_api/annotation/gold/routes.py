"""/v1/projects/{id}: gold items, the rules of quality, and the people whom they screen."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Response

from annotation_api.annotation.gold import queries, service
from annotation_api.annotation.gold.schemas import (
    GoldItems,
    GoldOut,
    NewGold,
    NewPause,
    QualityRulesOut,
    QualityRulesPatch,
    ScreenedPeople,
)
from annotation_api.annotation.projects.service import find_project
from annotation_api.http.dependencies import ENGINEERS, READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["quality"], route_class=DoorRoute)


@router.get("/gold", dependencies=[allow(*READS_RUNS)])
def list_gold(project_id: uuid.UUID, session: Db) -> GoldItems:
    """The gold items of a project, newest first, with how many answered them right."""
    find_project(session, project_id)
    return GoldItems(items=service.show_items(session, queries.items(session, project_id)))


@router.put("/tasks/{task_id}/gold", dependencies=[allow(*READS_RUNS)])
def make_gold(project_id: uuid.UUID, task_id: uuid.UUID, body: NewGold, session: Db, me: Me) -> GoldOut:
    """Make a task a gold item. It leaves the queue, and what is said of it never enters training."""
    find_project(session, project_id)
    return service.show_items(session, [service.make_gold(session, me, project_id, task_id, body)])[0]


@router.delete("/tasks/{task_id}/gold", status_code=204, dependencies=[allow(*READS_RUNS)])
def withdraw_gold(project_id: uuid.UUID, task_id: uuid.UUID, session: Db) -> Response:
    """Ask and count a gold item no more; one that nobody answered is an ordinary task again."""
    find_project(session, project_id)
    service.withdraw(session, project_id, task_id)
    return Response(status_code=204)


@router.get("/quality", dependencies=[allow(*READS_RUNS)])
def show_quality_rules(project_id: uuid.UUID, session: Db) -> QualityRulesOut:
    """How the project screens those who judge."""
    find_project(session, project_id)
    return QualityRulesOut.model_validate(queries.rules_of(session, project_id))


@router.patch("/quality", dependencies=[allow(*ENGINEERS)])
def change_quality_rules(project_id: uuid.UUID, body: QualityRulesPatch, session: Db, me: Me) -> QualityRulesOut:
    """Change how the project screens those who judge."""
    find_project(session, project_id)
    return QualityRulesOut.model_validate(service.change_rules(session, me, project_id, body))


@router.get("/annotators", dependencies=[allow(*READS_RUNS)])
def list_screened(project_id: uuid.UUID, session: Db, me: Me) -> ScreenedPeople:
    """Who is screened: accuracy on gold items with a 95 % interval, and who entered or is paused."""
    find_project(session, project_id)
    return ScreenedPeople(items=service.screened(session, me, project_id))


@router.post("/annotators/{person_id}:pause", status_code=204, dependencies=[allow(*READS_RUNS)])
def pause_annotator(project_id: uuid.UUID, person_id: uuid.UUID, body: NewPause, session: Db, me: Me) -> Response:
    """Give a person no more tasks here; what is in their hands goes back, what they answered stays, marked."""
    find_project(session, project_id)
    service.pause(session, me, project_id, person_id, body.reason)
    return Response(status_code=204)


@router.post("/annotators/{person_id}:resume", status_code=204, dependencies=[allow(*READS_RUNS)])
def resume_annotator(project_id: uuid.UUID, person_id: uuid.UUID, session: Db) -> Response:
    """Let a paused person in again; gold answers so far count no more against the bar."""
    find_project(session, project_id)
    service.resume(session, project_id, person_id)
    return Response(status_code=204)
