"""Trying a job again, or letting it go on, from its page: as it was, or with other settings."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.validation import Problem
from annotation_api.db.jobs.machine import DEAD
from annotation_api.db.tables import Job, JobState, Person
from annotation_api.http import audit as recording
from annotation_api.http.dependencies import ENGINEERS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError
from annotation_api.jobs import again
from annotation_api.jobs import service as jobs
from annotation_api.jobs.schemas import Validation
from annotation_api.jobs.settings_form import COMMON, fields_of
from annotation_api.web.markup.rendering import read_form, render, see_other
from annotation_api.web.start import forms
from annotation_api.web.start.pages import estimated

router = APIRouter(route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]
Verb = Callable[..., Job]


@router.get("/jobs/{job_id}/again", dependencies=[allow(*ENGINEERS)])
def again_page(job_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    """The job's settings to be changed before it goes on."""
    return _page(request, session, me, jobs.get(session, job_id), {})


@router.post("/jobs/{job_id}/resume", dependencies=[allow(*ENGINEERS)])
def resume(job_id: uuid.UUID, request: Request, session: Db, me: Me, form: Form) -> Response:
    """Let it go on; what the form names is changed first."""
    return _go(request, session, me, job_id, form, again.resume)


@router.post("/jobs/{job_id}/retry", dependencies=[allow(*ENGINEERS)])
def retry(job_id: uuid.UUID, request: Request, session: Db, me: Me, form: Form) -> Response:
    """Try it again; what the form names is changed first."""
    return _go(request, session, me, job_id, form, again.retry)


@router.post("/jobs/{job_id}/estimate", dependencies=[allow(*ENGINEERS)])
def estimate(job_id: uuid.UUID, request: Request, session: Db, me: Me, form: Form) -> Response:
    """What the dry run says of the job with the changes, as a part of its page."""
    job = jobs.get(session, job_id)
    recording.nothing_done(request)
    return render(request, "estimate.html", me, **estimated(_dry_run(session, me, job, form), job.stage))


def _dry_run(session: Session, me: Person, job: Job, form: FormData) -> Validation:
    try:
        return jobs.validate(session, me, again.with_changes(job, forms.changes_of(job.stage, form)))
    except ApiError as error:
        return Validation(ok=False, problems=list(error.problems), estimate=None)


def _go(request: Request, session: Session, me: Person, key: uuid.UUID, form: FormData, verb: Verb) -> Response:
    """Do as asked; where the changes cannot be, the form comes back as it was, with the reason beside each field."""
    job = jobs.get(session, key)
    try:
        verb(session, me, key, forms.changes_of(job.stage, form))
    except ApiError as error:
        if not error.problems:
            raise
        problems = list(error.problems)
        session.rollback()
        return _page(request, session, me, jobs.get(session, key), forms.first(forms.posted(form)), problems)
    return see_other(f"/jobs/{key}")


def _page(
    request: Request,
    session: Session,
    me: Person,
    job: Job,
    fields: dict[str, Any],
    problems: list[Problem] | None = None,
) -> Response:
    found = fields_of(job.stage, job.config)
    rest = [field for path, field in found.items() if path not in COMMON.get(job.stage, ())]
    common = [found[name] for name in COMMON.get(job.stage, ())]
    return render(
        request,
        "start_again.html",
        me,
        422 if problems else 200,
        job=job,
        verb="resume" if job.state is JobState.PAUSED else "retry",
        may_change=job.state in DEAD or job.state is JobState.PAUSED,
        sections=[{"stage": job.stage, "before": "", "common": common, "rest": rest}],
        fields=fields,
        wrong=forms.by_field(problems or [], job.stage),
        estimates=[],
        problems=[],
        typed={},
    )
