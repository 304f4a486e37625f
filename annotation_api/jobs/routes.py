"""/v1/jobs: make one, look at it, stop it, let it go on."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from alignment.shared.config import Stage
from annotation_api.db.tables import Job, JobState, Person
from annotation_api.http.dependencies import ENGINEERS, READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.idempotency import Once
from annotation_api.http.labels import By, Labels, label, labelled
from annotation_api.http.pagination import Cursor, Limit, NextPage, Page, fetch_rows
from annotation_api.http.quotas import Quota, spends
from annotation_api.jobs import again, queries, service
from annotation_api.jobs.schemas import ChangedSettings, JobOut, NewJob, Validation

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=DoorRoute)
daily = APIRouter(prefix="/v1", tags=["jobs"], route_class=DoorRoute)
ON_ITS_WAY: dict[int | str, dict[str, Any]] = {202: {"model": JobOut, "description": "Asked for, and not there yet."}}

Maker = Annotated[Literal["me"] | uuid.UUID | None, Query(description="Whose: `me`, or a person's id.")]
REPEATED = "May be given several times."


def maker_of(created_by: Maker, me: Person) -> uuid.UUID | None:
    """The person meant."""
    return me.id if created_by == "me" else created_by


@daily.post("/jobs", status_code=202, response_model=JobOut, dependencies=[allow(*ENGINEERS), spends(Quota.JOBS)])
def create_job(body: NewJob, session: Db, me: Me, once: Once) -> Response:
    """Queue one stage. Its inputs are resolved and checked now; nothing is created on an error."""
    return once.run(lambda: service.create(session, me, body), status=202, location="/v1/jobs/{id}")


@router.post("/jobs:validate", dependencies=[allow(*ENGINEERS)])
def validate_job(body: NewJob, session: Db, me: Me) -> Validation:
    """The resolved settings, steps, GPUs, disk and memory of a job, or what is wrong with it; creates nothing."""
    return service.validate(session, me, body)


@router.get("/jobs", dependencies=[allow(*READS_RUNS)])
def list_jobs(
    session: Db,
    more: NextPage,
    me: Me,
    stage: Annotated[list[Stage], Query(description=REPEATED)] = [],  # noqa: B006
    state: Annotated[list[JobState], Query(description=REPEATED)] = [],  # noqa: B006
    pipeline: uuid.UUID | None = None,
    created_by: Maker = None,
    by: By = (None, None),
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[JobOut]:
    """Jobs, newest first; their errors without traceback and log."""
    query = labelled(queries.jobs(stage, state, pipeline, maker_of(created_by, me)), Job, by)
    rows, after = fetch_rows(session, query, Job, limit=limit, cursor=cursor)
    return more.page(service.show(session, rows, brief=True), after)


@router.get("/jobs/{job_id}", dependencies=[allow(*READS_RUNS)])
def show_job(job_id: uuid.UUID, session: Db) -> JobOut:
    """One job: its state and since when it waits for what, its progress, result or error."""
    return service.show(session, [service.get(session, job_id)])[0]


@router.patch("/jobs/{job_id}", dependencies=[allow(*ENGINEERS)])
def label_job(job_id: uuid.UUID, body: Labels, session: Db) -> JobOut:
    """Give a job another name, notes or tags; what is left out stays."""
    return service.show(session, [label(service.get(session, job_id), body)])[0]


@router.post("/jobs/{job_id}:cancel", responses=ON_ITS_WAY, dependencies=[allow(*ENGINEERS)])
def cancel_job(job_id: uuid.UUID, session: Db, response: Response) -> JobOut:
    """Stop a job, and those that wait for it. 202 while a running one is stopping; repeating changes nothing."""
    return _answer(session, service.cancel(session, job_id), response)


@router.post("/jobs/{job_id}:pause", responses=ON_ITS_WAY, dependencies=[allow(*ENGINEERS)])
def pause_job(job_id: uuid.UUID, session: Db, response: Response) -> JobOut:
    """Let a job save a checkpoint and give its GPUs back. 202 until it has; repeating changes nothing.

    409 for a job that has ended, writes its result or is being cancelled.
    """
    return _answer(session, service.pause(session, job_id), response)


@router.post("/jobs/{job_id}:resume", responses=ON_ITS_WAY, dependencies=[allow(*ENGINEERS)])
def resume_job(
    job_id: uuid.UUID, session: Db, me: Me, response: Response, body: ChangedSettings | None = None
) -> JobOut:
    """Let a paused job go on from its checkpoint, or try a failed or cancelled one again. 202 until it runs.

    A body changes its settings first; 422 says what is wrong with them, 409 that it is at work. With other settings
    than those that only say when to save, it begins anew.
    """
    return _answer(session, again.resume(session, me, job_id, body), response)


@router.post("/jobs/{job_id}:retry", responses=ON_ITS_WAY, dependencies=[allow(*ENGINEERS)])
def retry_job(
    job_id: uuid.UUID, session: Db, me: Me, response: Response, body: ChangedSettings | None = None
) -> JobOut:
    """Queue a failed or cancelled job again, and with it the jobs that were cancelled because of it.

    A body changes its settings first, as for `:resume`.
    """
    return _answer(session, again.retry(session, me, job_id, body), response)


def _answer(session: Db, job: Job, response: Response) -> JobOut:
    response.status_code = 200 if service.is_settled(job) else 202
    return service.show(session, [job])[0]
