"""Pages on jobs and pipelines: what there is, how it goes, and the buttons that stop it or let it go on."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session

from alignment.shared import gate
from alignment.shared.config import Stage
from annotation_api.db.jobs.machine import ENDED, LIVE
from annotation_api.db.tables import Job, JobState, Person, Pipeline, Project
from annotation_api.http.dependencies import ENGINEERS, READS_RUNS, Config, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.labels import searched
from annotation_api.http.pagination import fetch_rows
from annotation_api.jobs import artifacts, logs
from annotation_api.jobs import queries as job_queries
from annotation_api.jobs import service as jobs
from annotation_api.jobs.detail_schemas import LookOut
from annotation_api.jobs.pipelines import service as pipelines
from annotation_api.jobs.wins import win_rates
from annotation_api.settings import Settings
from annotation_api.web import queries
from annotation_api.web.markup import language
from annotation_api.web.markup.charts import HEIGHT, WIDTH, line, marks
from annotation_api.web.markup.fields import LEFT_EMPTY, Words
from annotation_api.web.markup.rendering import render, see_other
from annotation_api.web.markup.returned import NOTHING_SENT, Returned
from annotation_api.web.markup.wording import differing
from annotation_api.web.runs import curves, ran_on, retold, titles

router = APIRouter(route_class=DoorRoute)

PAGE = 50  # half of other lists: the row of a pipeline shows each of its jobs
ATTEMPTS_SHOWN = 20
LOG_LINES = 40
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"  # no script at all


@router.get("/jobs", dependencies=[allow(*READS_RUNS)])
def jobs_page(
    request: Request,
    session: Db,
    me: Me,
    stage: Annotated[Stage | None, LEFT_EMPTY] = None,
    state: Annotated[JobState | None, LEFT_EMPTY] = None,
    name: Words = "",
    tag: Words = "",
    cursor: str | None = None,
) -> Response:
    """Newest first, of one stage, state, tag or part of a name where they are chosen."""
    query = job_queries.jobs([stage] if stage else [], [state] if state else [], None, None)
    query = searched(query, Job, name, tag)
    rows, after = fetch_rows(session, query, Job, limit=PAGE, cursor=cursor or None)
    chosen = {"stage": stage or "", "state": state or "", "name": name, "tag": tag}
    return render(
        request,
        "jobs.html",
        me,
        jobs=rows,
        people=queries.names_of(session, [row.created_by for row in rows]),
        needs=job_queries.needs(session, [row.id for row in rows]),
        spent=job_queries.spent(session, [row.id for row in rows]),
        stages=list(Stage),
        states=list(JobState),
        chosen=chosen,
        next=after,
        first=not cursor,
    )


@router.get("/jobs/{job_id}", dependencies=[allow(*READS_RUNS)])
def job_page(job_id: uuid.UUID, request: Request, session: Db, me: Me, settings: Config) -> Response:
    return shown_job(request, session, me, settings, job_id)


def shown_job(
    request: Request,
    session: Session,
    me: Person,
    settings: Settings,
    job_id: uuid.UUID,
    back: Returned = NOTHING_SENT,
) -> Response:
    """The page of a job; `back` is its form that comes again."""
    job = jobs.get(session, job_id)
    log = logs.tail(session, settings, job.id, None, LOG_LINES)
    with language.speaking(language.language_of(request, me)):  # what has no name is called as the page calls it
        read = _ran_on(session, job)
    return render(
        request,
        "job.html",
        me,
        back.status,
        returned=back,
        **_state(session, job),
        **read,
        **_reported(session, job),
        **_evaluations(session, job),
        **_left(session, job),
        log=log.lines,
    )


def _state(session: Session, job: Job) -> dict[str, Any]:
    """How it stands."""
    return {
        "job": job,
        "ended": job.state in ENDED,
        "live": job.state in LIVE,
        "needs": job_queries.needs(session, [job.id]),
        "maker": queries.names_of(session, [job.created_by])[job.created_by],
    }


def _ran_on(session: Session, job: Job) -> dict[str, Any]:
    """What it reads, with which settings, and behind whom it waits."""
    preset, unlike = ran_on.unlike_preset(job)
    return {
        "reads": ran_on.reads(session, job),
        "preset": preset,
        "unlike": unlike,
        "queue": ran_on.queue(session, job),
    }


def _reported(session: Session, job: Job) -> dict[str, Any]:
    """What it said and measured so far."""
    return {
        "last_event": queries.last_event(session, job.id),
        **curves.shown(session, job),
        "curves_at": f"/jobs/{job.id}/curves",
        "box": (WIDTH, HEIGHT),
        "line": line,
        "notes": queries.notes_of(session, job.id),
        "retold": retold.notes(session, job),
        "samples": queries.last_of(session, job.id, "samples"),
        "samples_shown": queries.SAMPLES_SHOWN,
    }


def _evaluations(session: Session, job: Job) -> dict[str, Any]:
    """What the reward model and people say of a policy in training, look by look."""
    newest = queries.last_of(session, job.id, "look")
    evaluations = win_rates(job_queries.comparisons(session, job.id)) if newest else []
    rated = [row for row in evaluations if row.rate is not None]
    last = evaluations[-1].update if evaluations else 0
    scores = [(row.update, row.score) for row in evaluations]
    if evaluations:
        scores.insert(0, (0, evaluations[0].score_before))
    return {
        "compared": evaluations,
        "rated": rated,
        "newest_evaluation": newest.data if newest else None,
        "differing": differing,
        "project": session.get(Project, uuid.UUID(job.inputs["project"])) if job.inputs.get("project") else None,
        "scores": marks([(step, score, score, score) for step, score in scores if score is not None], last),
        "wins": marks([_interval(row) for row in rated], last, (0.0, 1.0)),
    }


def _interval(row: LookOut) -> tuple[int, float, float, float]:
    assert row.rate is not None, "only looks with a rate are drawn"
    assert row.low is not None, "a rate has its interval"
    assert row.high is not None, "a rate has its interval"
    return row.update, row.rate, row.low, row.high


def _left(session: Session, job: Job) -> dict[str, Any]:
    """What its attempts left."""
    model = queries.model_of_job(session, job.id)
    return {
        "attempts": job_queries.attempts(session, job.id, ATTEMPTS_SHOWN),
        "saved": job_queries.saved_checkpoints(session, job.id),
        "candidates": job_queries.evaluated_policies(session, job.id),
        "files": job_queries.artifacts(session, job.id),
        "model": model,
        "titles": titles.of_models(session, [model.id] if model else []),
        "report": queries.report_of(session, job.id),
    }


@router.get("/jobs/{job_id}/report", dependencies=[allow(*READS_RUNS)])
def report_page(job_id: uuid.UUID, session: Db, settings: Config) -> FileResponse:
    """The report that a reward or PPO job wrote. It brings its own styles, so it gets a policy of its own."""
    job = jobs.get(session, job_id)
    path = artifacts.file_of(session, settings, job, queries.report_of(session, job.id) or gate.PAGE)
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


@router.post("/jobs/{job_id}/cancel", dependencies=[allow(*ENGINEERS)])
def cancel(job_id: uuid.UUID, session: Db) -> Response:
    jobs.cancel(session, job_id)
    return see_other(f"/jobs/{job_id}")


@router.post("/jobs/{job_id}/pause", dependencies=[allow(*ENGINEERS)])
def pause(job_id: uuid.UUID, session: Db) -> Response:
    jobs.pause(session, job_id)
    return see_other(f"/jobs/{job_id}")


# ---------------------------------------------------------------- pipelines


@router.get("/pipelines", dependencies=[allow(*READS_RUNS)])
def pipelines_page(
    request: Request, session: Db, me: Me, name: Words = "", tag: Words = "", cursor: str | None = None
) -> Response:
    """Newest first, of a tag or part of a name where they are chosen."""
    query = searched(job_queries.pipelines(None), Pipeline, name, tag)
    rows, after = fetch_rows(session, query, Pipeline, limit=PAGE, cursor=cursor or None)
    return render(
        request,
        "pipelines.html",
        me,
        pipelines=pipelines.show_all(session, rows),
        people=queries.names_of(session, [row.created_by for row in rows]),
        chosen={"name": name, "tag": tag},
        next=after,
        first=not cursor,
    )


@router.get("/pipelines/{pipeline_id}", dependencies=[allow(*READS_RUNS)])
def pipeline_page(pipeline_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    return shown_pipeline(request, session, me, pipeline_id)


def shown_pipeline(
    request: Request, session: Session, me: Person, pipeline_id: uuid.UUID, back: Returned = NOTHING_SENT
) -> Response:
    """The page of a pipeline; `back` is its form that comes again."""
    row = pipelines.get(session, pipeline_id)
    shown = job_queries.pipeline_jobs(session, [row.id])
    models = {job.id: queries.model_of_job(session, job.id) for job in shown}
    return render(
        request,
        "pipeline.html",
        me,
        back.status,
        returned=back,
        pipeline=row,
        state=pipelines.state_of([job.state for job in shown]),
        jobs=shown,
        ended=all(job.state in ENDED for job in shown),
        needs=job_queries.needs(session, [job.id for job in shown]),
        models=models,
        titles=titles.of_models(session, [model.id for model in models.values() if model]),
        maker=queries.names_of(session, [row.created_by])[row.created_by],
    )


@router.post("/pipelines/{pipeline_id}/cancel", dependencies=[allow(*ENGINEERS)])
def cancel_pipeline(pipeline_id: uuid.UUID, session: Db) -> Response:
    pipelines.cancel(session, pipeline_id)
    return see_other(f"/pipelines/{pipeline_id}")


@router.post("/pipelines/{pipeline_id}/resume", dependencies=[allow(*ENGINEERS)])
def resume_pipeline(pipeline_id: uuid.UUID, session: Db, me: Me) -> Response:
    pipelines.resume(session, me, pipeline_id)
    return see_other(f"/pipelines/{pipeline_id}")
