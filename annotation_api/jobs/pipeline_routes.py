"""/v1/pipelines: SFT, reward model and PPO as one."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Response

from annotation_api.db.tables import Pipeline
from annotation_api.dependencies import ENGINEERS, READS_RUNS, Db, Me, allow
from annotation_api.doors import DoorRoute
from annotation_api.idempotency import Once
from annotation_api.jobs import pipelines, queries, service
from annotation_api.jobs.routes import Maker, maker_of
from annotation_api.jobs.schemas import NewPipeline, PipelineOut
from annotation_api.pagination import Cursor, Limit, Page, fetch_rows
from annotation_api.quotas import Quota, spends

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


@router.get("/pipelines", dependencies=[allow(*READS_RUNS)])
def list_pipelines(
    session: Db, me: Me, created_by: Maker = None, limit: Limit = 100, cursor: Cursor = None
) -> Page[PipelineOut]:
    """Pipelines with their jobs, newest first."""
    query = queries.pipelines(maker_of(created_by, me))
    rows, after = fetch_rows(session, query, Pipeline, limit=limit, cursor=cursor)
    return Page(items=pipelines.show_all(session, rows), next=after)


@router.get("/pipelines/{pipeline_id}", dependencies=[allow(*READS_RUNS)])
def show_pipeline(pipeline_id: uuid.UUID, session: Db) -> PipelineOut:
    """A pipeline with its three jobs."""
    return pipelines.show(session, pipelines.get(session, pipeline_id))


@router.post(
    "/pipelines/{pipeline_id}:cancel",
    responses={202: {"model": PipelineOut, "description": "A stage is still stopping."}},
    dependencies=[allow(*ENGINEERS)],
)
def cancel_pipeline(pipeline_id: uuid.UUID, session: Db, response: Response) -> PipelineOut:
    """Stop every stage that has not ended. 202 while one is stopping; repeating changes nothing."""
    settled = [service.is_settled(job) for job in pipelines.cancel(session, pipeline_id)]
    response.status_code = 200 if all(settled) else 202
    return pipelines.show(session, pipelines.get(session, pipeline_id))


@router.post("/pipelines/{pipeline_id}:resume", status_code=202, dependencies=[allow(*ENGINEERS)])
def resume_pipeline(pipeline_id: uuid.UUID, session: Db) -> PipelineOut:
    """Go on from the stage that failed, was cancelled or is paused; repeating changes nothing."""
    pipelines.resume(session, pipeline_id)
    return pipelines.show(session, pipelines.get(session, pipeline_id))
