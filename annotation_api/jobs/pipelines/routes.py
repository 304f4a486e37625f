"""/v1/pipelines: SFT, reward model and PPO as one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from fastapi import APIRouter, Response

from annotation_api.db.tables import Job, Pipeline
from annotation_api.http.dependencies import ENGINEERS, READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.idempotency import Once
from annotation_api.http.labels import By, Labels, label, labelled
from annotation_api.http.pagination import Cursor, Limit, NextPage, Page, fetch_rows
from annotation_api.http.quotas import Quota, spends
from annotation_api.jobs import queries, service
from annotation_api.jobs.pipelines import service as pipelines
from annotation_api.jobs.pipelines import validation
from annotation_api.jobs.pipelines.schemas import NewPipeline, PipelineOut, ResumedPipeline
from annotation_api.jobs.pipelines.validation import PipelineValidation
from annotation_api.jobs.routes import Maker, maker_of

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=DoorRoute)


@router.post(
    "/pipelines",
    status_code=202,
    response_model=PipelineOut,
    dependencies=[allow(*ENGINEERS), spends(Quota.JOBS, 3)],
)
def create_pipeline(body: NewPipeline, session: Db, me: Me, once: Once) -> Response:
    """Queue SFT, reward model and PPO in turn, each on what the one before made. All three or none."""
    return once.run(
        lambda: pipelines.show(session, pipelines.create(session, me, body)),
        status=202,
        location="/v1/pipelines/{id}",
    )


@router.post("/pipelines:validate", dependencies=[allow(*ENGINEERS)])
def validate_pipeline(body: NewPipeline, session: Db, me: Me) -> PipelineValidation:
    """The resolved settings, steps, GPUs, disk and memory of each stage, or what is wrong; creates nothing."""
    return validation.validate(session, me, body)


@router.get("/pipelines", dependencies=[allow(*READS_RUNS)])
def list_pipelines(
    session: Db,
    more: NextPage,
    me: Me,
    created_by: Maker = None,
    by: By = (None, None),
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[PipelineOut]:
    """Pipelines with their jobs, newest first."""
    query = labelled(queries.pipelines(maker_of(created_by, me)), Pipeline, by)
    rows, after = fetch_rows(session, query, Pipeline, limit=limit, cursor=cursor)
    return more.page(pipelines.show_all(session, rows), after)


@router.get("/pipelines/{pipeline_id}", dependencies=[allow(*READS_RUNS)])
def show_pipeline(pipeline_id: uuid.UUID, session: Db) -> PipelineOut:
    """A pipeline with its three jobs."""
    return pipelines.show(session, pipelines.get(session, pipeline_id))


@router.patch("/pipelines/{pipeline_id}", dependencies=[allow(*ENGINEERS)])
def label_pipeline(pipeline_id: uuid.UUID, body: Labels, session: Db) -> PipelineOut:
    """Give a pipeline another name, notes or tags; what is left out stays. Its jobs keep theirs."""
    return pipelines.show(session, label(pipelines.get(session, pipeline_id, lock=True), body))


@router.post(
    "/pipelines/{pipeline_id}:cancel",
    responses={202: {"model": PipelineOut, "description": "A stage is still stopping."}},
    dependencies=[allow(*ENGINEERS)],
)
def cancel_pipeline(pipeline_id: uuid.UUID, session: Db, response: Response) -> PipelineOut:
    """Stop every stage that has not ended. 202 while one is stopping; repeating changes nothing."""
    return _told(session, pipeline_id, pipelines.cancel(session, pipeline_id), response)


@router.post(
    "/pipelines/{pipeline_id}:pause",
    responses={202: {"model": PipelineOut, "description": "A stage is still saving."}},
    dependencies=[allow(*ENGINEERS)],
)
def pause_pipeline(pipeline_id: uuid.UUID, session: Db, response: Response) -> PipelineOut:
    """Let the stage that trains save a checkpoint and give its GPUs back, and keep the others from starting.

    202 until it has; repeating changes nothing. 409 where nothing waits or trains.
    """
    return _told(session, pipeline_id, pipelines.pause(session, pipeline_id), response)


def _told(session: Db, pipeline_id: uuid.UUID, jobs: Sequence[Job], response: Response) -> PipelineOut:
    response.status_code = 200 if all(service.is_settled(job) for job in jobs) else 202
    return pipelines.show(session, pipelines.get(session, pipeline_id))


@router.post("/pipelines/{pipeline_id}:resume", status_code=202, dependencies=[allow(*ENGINEERS)])
def resume_pipeline(pipeline_id: uuid.UUID, session: Db, me: Me, body: ResumedPipeline | None = None) -> PipelineOut:
    """Go on from the stage that failed, was cancelled or is paused; repeating changes nothing.

    A body changes the settings of stages that have not succeeded.
    """
    pipelines.resume(session, me, pipeline_id, body)
    return pipelines.show(session, pipelines.get(session, pipeline_id))
