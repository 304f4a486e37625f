"""/v1/jobs/{id}/...: what a job tells, measures, saves and leaves."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import Field

from annotation_api.http.dependencies import READS_RUNS, Config, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.jobs import artifacts, logs, queries, service
from annotation_api.jobs.detail_schemas import (
    ArtifactOut,
    AttemptOut,
    CandidateOut,
    CheckpointOut,
    LogOut,
    LookOut,
    SavedOut,
    Series,
)
from annotation_api.jobs.events.admission import LetIn
from annotation_api.jobs.events.schemas import JobEvent
from annotation_api.jobs.events.stream import EventStream
from annotation_api.jobs.events.watchers import EventPoller
from annotation_api.jobs.series import thinned
from annotation_api.jobs.wins import win_rates

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], dependencies=[allow(*READS_RUNS)], route_class=DoorRoute)

MOST_NUMBER = 2**31 - 1
EventNumber = Annotated[int, Field(ge=0, le=MOST_NUMBER)]


async def get_streams(request: Request) -> EventPoller:
    streams: EventPoller = request.app.state.streams
    return streams


@router.get(
    "/events",
    status_code=200,
    response_class=EventStream,
    responses={200: {"model": JobEvent, "description": "Server-sent events; `data` is JSON on one line."}},
)
def job_events(
    request: Request,
    job_id: uuid.UUID,
    session: Db,
    me: Me,
    settings: Config,
    streams: Annotated[EventPoller, Depends(get_streams)],
    after: Annotated[EventNumber, Query(description="As the header, for a client that cannot set it.")] = 0,
    last_event_id: Annotated[EventNumber | None, Header(description="Events after this one are sent.")] = None,
) -> EventStream:
    """Events as they come (state, progress, note, samples, look, checkpoint), then `end`.

    Resumes after `Last-Event-ID`.
    """
    service.get(session, job_id)
    who = LetIn.of(request, me, settings)
    return EventStream(streams, who, job_id, after if last_event_id is None else last_event_id)


@router.get("/metrics")
def job_metrics(
    job_id: uuid.UUID,
    session: Db,
    name: str | None = None,
    phase: str | None = None,
    after_step: Annotated[int, Query(ge=-1, le=MOST_NUMBER, description="Only later steps.")] = -1,
    points: Annotated[int, Query(ge=1, le=10_000, description="Most points of a series.")] = 1000,
) -> list[Series]:
    """What the job measured, a series for each phase and name."""
    service.get(session, job_id)
    return thinned(queries.metrics(session, job_id, name, phase, after_step), points)


@router.get("/attempts")
def job_attempts(job_id: uuid.UUID, session: Db, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> list[AttemptOut]:
    """Every claim of the job and how it ended, newest first."""
    service.get(session, job_id)
    return [AttemptOut.model_validate(row) for row in queries.attempts(session, job_id, limit)]


@router.get("/log")
def job_log(
    job_id: uuid.UUID,
    session: Db,
    settings: Config,
    epoch: Annotated[EventNumber | None, Query(description="The attempt; unset: the newest.")] = None,
    lines: Annotated[int, Query(ge=1, le=1000, description="At most so many, from the end.")] = logs.LINES,
) -> LogOut:
    """The last lines that an attempt wrote, also while it runs."""
    service.get(session, job_id)
    return logs.tail(session, settings, job_id, epoch, lines)


@router.get("/checkpoints")
def job_checkpoints(job_id: uuid.UUID, session: Db) -> list[CheckpointOut]:
    """What an attempt can go on from (`saved`), then what the stage compared at its end (`candidate`)."""
    service.get(session, job_id)
    saved = [SavedOut.model_validate(row) for row in queries.saved_checkpoints(session, job_id)]
    return [*saved, *(CandidateOut.model_validate(row) for row in queries.evaluated_policies(session, job_id))]


@router.get("/win_rate")
def job_win_rate(job_id: uuid.UUID, session: Db) -> list[LookOut]:
    """How often people prefer the policy to the SFT policy, at each evaluation of a PPO job; each is a row."""
    service.get(session, job_id)
    return win_rates(queries.comparisons(session, job_id))


@router.get("/artifacts")
def job_artifacts(job_id: uuid.UUID, session: Db) -> list[ArtifactOut]:
    """The files that the job left."""
    service.get(session, job_id)
    return [ArtifactOut.model_validate(row) for row in queries.artifacts(session, job_id)]


@router.head("/artifacts/{name:path}", response_class=FileResponse, name="describe_artifact")
@router.get("/artifacts/{name:path}", response_class=FileResponse, name="download_artifact")
def download_artifact(
    job_id: uuid.UUID,
    name: str,
    session: Db,
    settings: Config,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """One file. Ranges are served; `ETag` and `Repr-Digest` hold its SHA-256."""
    return artifacts.download(session, settings, service.get(session, job_id), name, if_none_match)
