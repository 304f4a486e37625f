"""/v1/jobs and /v1/pipelines."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import FileResponse, StreamingResponse
from sqlalchemy.orm import Session, sessionmaker

from alignment.config import Stage
from annotation_api.db.job_machine import LIVE
from annotation_api.db.tables import Job, JobState
from annotation_api.dependencies import ENGINEERS, READS_RUNS, Config, Db, Me, allow, get_sessions
from annotation_api.idempotency import Once
from annotation_api.jobs import artifacts, queries, service
from annotation_api.jobs.schemas import (
    ArtifactOut,
    CheckpointOut,
    JobOut,
    NewJob,
    NewPipeline,
    PipelineOut,
    Series,
    Validation,
)
from annotation_api.jobs.series import thinned
from annotation_api.jobs.stream import events
from annotation_api.pagination import Cursor, Limit, Page, fetch_page
from annotation_api.quotas import Quota, spends

router = APIRouter(prefix="/v1", tags=["jobs"])
Sessions = Annotated[sessionmaker[Session], Depends(get_sessions)]


@router.post("/jobs", status_code=202, response_model=JobOut, dependencies=[allow(*ENGINEERS), spends(Quota.JOBS)])
def create_job(body: NewJob, session: Db, me: Me, once: Once) -> Response:
    """Queue one stage. Its inputs are resolved and checked now; nothing is created on an error."""
    return once.run(
        lambda: service.show(session, [service.create(session, me, body)])[0],
        status=202,
        location="/v1/jobs/{id}",
    )


@router.post("/jobs:validate", dependencies=[allow(*ENGINEERS)])
def validate_job(body: NewJob, session: Db, me: Me) -> Validation:
    """The resolved settings, steps, GPUs and disk of a job, or what is wrong with it; creates nothing."""
    return service.validate(session, me, body)


@router.get("/jobs", dependencies=[allow(*READS_RUNS)])
def list_jobs(
    session: Db,
    stage: Stage | None = None,
    state: Annotated[list[JobState], Query(description="May be given several times.")] = [],  # noqa: B006
    pipeline: uuid.UUID | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[JobOut]:
    """Jobs, newest first."""
    query = queries.jobs(stage, state, pipeline)
    items, after = fetch_page(
        session, query, Job, lambda job: service.show(session, [job])[0], limit=limit, cursor=cursor
    )
    return Page(items=items, next=after)


@router.get("/jobs/{job_id}", dependencies=[allow(*READS_RUNS)])
def show_job(job_id: uuid.UUID, session: Db) -> JobOut:
    """One job: its state, progress, result or error."""
    return service.show(session, [service.get(session, job_id)])[0]


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."}},
    dependencies=[allow(*READS_RUNS)],
)
def job_events(
    job_id: uuid.UUID,
    session: Db,
    sessions: Sessions,
    last_event_id: Annotated[int, Header(ge=0, description="Events after this one are sent.")] = 0,
) -> StreamingResponse:
    """Events as they come (state, progress, note, samples), then `end`. Resumes after `Last-Event-ID`."""
    service.get(session, job_id)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(sessions, job_id, last_event_id), media_type="text/event-stream", headers=headers)


@router.get("/jobs/{job_id}/metrics", dependencies=[allow(*READS_RUNS)])
def job_metrics(
    job_id: uuid.UUID,
    session: Db,
    name: str | None = None,
    phase: str | None = None,
    after_step: Annotated[int, Query(description="Only later steps.")] = -1,
    points: Annotated[int, Query(ge=1, le=10_000, description="Most points of a series.")] = 1000,
) -> list[Series]:
    """What the job measured, a series for each phase and name."""
    service.get(session, job_id)
    return thinned(queries.metrics(session, job_id, name, phase, after_step), points)


@router.get("/jobs/{job_id}/checkpoints", dependencies=[allow(*READS_RUNS)])
def job_checkpoints(job_id: uuid.UUID, session: Db) -> list[CheckpointOut]:
    """The candidates that the job compared; `chosen` is the one it kept."""
    service.get(session, job_id)
    return [CheckpointOut.model_validate(row) for row in queries.checkpoints(session, job_id)]


@router.get("/jobs/{job_id}/artifacts", dependencies=[allow(*READS_RUNS)])
def job_artifacts(job_id: uuid.UUID, session: Db) -> list[ArtifactOut]:
    """The files that the job left."""
    service.get(session, job_id)
    return [ArtifactOut.model_validate(row) for row in queries.artifacts(session, job_id)]


@router.get("/jobs/{job_id}/artifacts/{name:path}", response_class=FileResponse, dependencies=[allow(*READS_RUNS)])
def download_artifact(job_id: uuid.UUID, name: str, session: Db, settings: Config) -> FileResponse:
    """One file; ranges are served."""
    path = artifacts.file_of(session, settings, service.get(session, job_id), name)
    return FileResponse(path, filename=path.name, media_type="application/octet-stream")


@router.post("/jobs/{job_id}:cancel", response_model=JobOut, dependencies=[allow(*ENGINEERS)])
def cancel_job(job_id: uuid.UUID, session: Db, response: Response) -> JobOut:
    """Stop a job, and those that wait for it. 202 while a running one is stopping; repeating changes nothing."""
    job = service.cancel(session, job_id)
    response.status_code = 202 if job.state in LIVE else 200
    return service.show(session, [job])[0]


@router.post("/jobs/{job_id}:retry", status_code=202, dependencies=[allow(*ENGINEERS)])
def retry_job(job_id: uuid.UUID, session: Db) -> JobOut:
    """Queue a failed or cancelled job again, and with it the jobs that were cancelled because of it."""
    return service.show(session, [service.retry(session, job_id)])[0]


@router.post("/jobs/{job_id}:resume", status_code=202, dependencies=[allow(*ENGINEERS)])
def resume_job(job_id: uuid.UUID, session: Db) -> JobOut:
    """The same as `:retry`."""
    return retry_job(job_id, session)


@router.post(
    "/pipelines",
    status_code=202,
    response_model=PipelineOut,
    dependencies=[allow(*ENGINEERS), spends(Quota.JOBS, 3)],
)
def create_pipeline(body: NewPipeline, session: Db, me: Me, once: Once) -> Response:
    """Queue SFT, reward model and PPO in turn, each on what the one before made. All three or none."""
    return once.run(
        lambda: service.show_pipeline(session, service.create_pipeline(session, me, body)),
        status=202,
        location="/v1/pipelines/{id}",
    )


@router.get("/pipelines/{pipeline_id}", dependencies=[allow(*READS_RUNS)])
def show_pipeline(pipeline_id: uuid.UUID, session: Db) -> PipelineOut:
    """A pipeline with its three jobs; to resume it, retry the job that failed."""
    return service.show_pipeline(session, service.get_pipeline(session, pipeline_id))
