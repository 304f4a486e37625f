"""Pages on which a job or a pipeline is made: a form of the settings' own classes, its estimate beside it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.config import Stage, preset_names
from alignment.shared.stages import MODULES, inputs_of
from alignment.shared.validation import Problem
from annotation_api.db.tables import Person
from annotation_api.http import audit as recording
from annotation_api.http.dependencies import ENGINEERS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError
from annotation_api.http.idempotency import once_of
from annotation_api.http.quotas import Quota, spends
from annotation_api.jobs import service as jobs
from annotation_api.jobs.pipelines import service as pipelines
from annotation_api.jobs.pipelines.validation import PipelineValidation
from annotation_api.jobs.pipelines.validation import validate as validate_pipeline
from annotation_api.jobs.schemas import NewJob, Validation
from annotation_api.jobs.settings_form import COMMON, fields_of
from annotation_api.web.markup.rendering import read_form, render, see_other
from annotation_api.web.start import forms, inputs
from annotation_api.web.start.forms import Posted

STARTED = [stage for stage in Stage if stage in MODULES]  # what a form of settings starts
router = APIRouter(route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]
Text = Annotated[str, Query(max_length=64)]
NOTHING_ESTIMATED: dict[str, Any] = {"estimates": [], "problems": [], "typed": {}}


@router.get("/jobs/new", dependencies=[allow(*ENGINEERS)])
def new_job_page(
    request: Request, session: Db, me: Me, stage: Text = "sft", preset: Text = "", like: uuid.UUID | None = None
) -> Response:
    """An empty form of a stage; `like` fills it in with what a job was made of."""
    if like is not None:
        job = jobs.get(session, like)
        if job.stage not in STARTED:  # a preparation starts on the page of its data set
            return see_other("/datasets")
        return _job_page(request, session, me, job.stage, _as_made(session, job.id))
    chosen = next((it for it in STARTED if it == stage), Stage.SFT)
    return _job_page(request, session, me, chosen, {"preset": [preset]})


def _as_made(session: Session, key: uuid.UUID) -> dict[str, list[str]]:
    """A job's inputs and the settings that are not the defaults, as a form would send them."""
    job = jobs.get(session, key)
    given = {
        forms.IN + name: [inputs.value_of(each) for each in (value if isinstance(value, list) else [value])]
        for name, value in job.inputs.items()
    }
    now, usual = fields_of(job.stage, job.config), fields_of(job.stage, forms.resolved(job.stage, ""))
    changed = {field.name: [field.default] for path, field in now.items() if field.default != usual[path].default}
    labels = {"name": [job.name or ""], "notes": [job.notes], "tags": [", ".join(job.tags)]}
    on_cpu = {"allow_cpu": ["yes"]} if job.allow_cpu else {}
    return given | changed | labels | on_cpu | {"gpus": [f"{job.gpus:g}"], "priority": [str(job.priority)]}


@router.post("/jobs", dependencies=[allow(*ENGINEERS), spends(Quota.JOBS)])
def create_job(request: Request, session: Db, me: Me, form: Form) -> Response:
    """Queue the job, once however often the form is sent; on an error the form comes back as it was."""
    sent = forms.posted(form)
    stage = next((it for it in STARTED if it == forms.first(sent).get("stage")), Stage.SFT)
    if "do" in sent:
        return _job_page(request, session, me, stage, sent, check=True)
    once = once_of(request, session, me, forms.content_key(sent), b"form")
    try:
        answer = once.run(lambda: jobs.create(session, me, forms.job_body(stage, sent)), location="/jobs/{id}")
    except ApiError as error:
        session.rollback()
        return _job_page(request, session, me, stage, sent, error)
    return see_other(answer.headers["location"])


@router.post("/jobs/estimate", dependencies=[allow(*ENGINEERS)])
def estimate_job(request: Request, session: Db, me: Me, form: Form) -> Response:
    """What `:validate` says of the form as it stands, as a part of its page."""
    sent = forms.posted(form)
    stage = next((it for it in STARTED if it == forms.first(sent).get("stage")), Stage.SFT)
    recording.nothing_done(request)
    return render(request, "estimate.html", me, **estimated(validation(session, me, stage, sent), stage))


def validation(session: Session, me: Person, stage: Stage, sent: Posted) -> Validation:
    """The dry run of a job's form."""
    try:
        body: NewJob = forms.job_body(stage, sent)
    except ApiError as error:
        return Validation(ok=False, problems=list(error.problems), estimate=None)
    return jobs.validate(session, me, body)


def estimated(found: Validation, stage: Stage) -> dict[str, Any]:
    """A dry run as the template shows it, with the resolved settings as people type them."""
    config = fields_of(stage, found.estimate.config) if found.estimate else {}
    typed = {field.name: field.default for field in config.values()}
    return {
        "estimates": [(stage, found.estimate)] if found.estimate else [],
        "problems": found.problems,
        "typed": typed,
    }


def _job_page(
    request: Request,
    session: Session,
    me: Person,
    stage: Stage,
    sent: Posted,
    error: ApiError | None = None,
    *,
    check: bool = False,
) -> Response:
    problems, shown = _problems(error), NOTHING_ESTIMATED
    if check:
        found = validation(session, me, stage, sent)
        problems, shown = found.problems, estimated(found, stage)
    return render(
        request,
        "start_job.html",
        me,
        422 if error else 200,
        stage=stage,
        stages=STARTED,
        sections=[section(stage, forms.first(sent).get("preset", ""))],
        asked=inputs_of(stage),
        offered=inputs.offered(session, stage),
        wrong=forms.by_field(problems, stage),
        **_as_sent(sent),
        **shown,
    )


def _as_sent(sent: Posted) -> dict[str, Any]:
    """What both forms have of themselves: what was typed, what may be chosen, and a key by which they count once."""
    fields = forms.first(sent)
    key = fields.get(forms.KEY) or uuid.uuid4().hex
    return {"sent": sent, "fields": fields, "presets": preset_names(), "key": key}


def section(stage: Stage, preset: str, before: str = "") -> dict[str, Any]:
    """A stage's settings for the template: the common ones, then the others by their tables."""
    found = fields_of(stage, forms.resolved(stage, preset))
    common = [found[name] for name in COMMON[stage]]
    rest = [field for path, field in found.items() if path not in COMMON[stage]]
    return {"stage": stage, "before": before, "common": common, "rest": rest}


def _problems(error: ApiError | None) -> list[Problem]:
    return [] if error is None else list(error.problems) or [Problem(pointer="", message=error.detail)]


# ---------------------------------------------------------------- pipelines


@router.get("/pipelines/new", dependencies=[allow(*ENGINEERS)])
def new_pipeline_page(request: Request, session: Db, me: Me, preset: Text = "") -> Response:
    """An empty form for SFT, reward model and PPO in turn."""
    return _pipeline_page(request, session, me, {"preset": [preset]})


@router.post("/pipelines", dependencies=[allow(*ENGINEERS), spends(Quota.JOBS, 3)])
def create_pipeline(request: Request, session: Db, me: Me, form: Form) -> Response:
    """Queue the three stages, once however often the form is sent; on an error the form comes back as it was."""
    sent = forms.posted(form)
    if "do" in sent:
        return _pipeline_page(request, session, me, sent, check=True)
    once = once_of(request, session, me, forms.content_key(sent), b"form")

    def make() -> Any:
        return pipelines.show(session, pipelines.create(session, me, forms.pipeline_body(sent)))

    try:
        answer = once.run(make, location="/pipelines/{id}")
    except ApiError as error:
        session.rollback()
        return _pipeline_page(request, session, me, sent, error)
    return see_other(answer.headers["location"])


@router.post("/pipelines/estimate", dependencies=[allow(*ENGINEERS)])
def estimate_pipeline(request: Request, session: Db, me: Me, form: Form) -> Response:
    """What the dry run says of the three stages, as a part of the form's page."""
    recording.nothing_done(request)
    return render(request, "estimate.html", me, **_pipeline_estimated(_dry_run(session, me, forms.posted(form))))


def _dry_run(session: Session, me: Person, sent: Posted) -> PipelineValidation:
    try:
        return validate_pipeline(session, me, forms.pipeline_body(sent))
    except ApiError as error:
        return PipelineValidation(ok=False, problems=list(error.problems), estimates={})


def _pipeline_estimated(found: PipelineValidation) -> dict[str, Any]:
    typed = {
        f"{stage.value}.{field.name}": field.default
        for stage, estimate in found.estimates.items()
        for field in fields_of(stage, estimate.config).values()
    }
    return {"estimates": list(found.estimates.items()), "problems": found.problems, "typed": typed}


def _pipeline_page(
    request: Request,
    session: Session,
    me: Person,
    sent: Posted,
    error: ApiError | None = None,
    *,
    check: bool = False,
) -> Response:
    problems, shown = _problems(error), NOTHING_ESTIMATED
    if check:
        found = _dry_run(session, me, sent)
        problems, shown = found.problems, _pipeline_estimated(found)
    sft, reward, ppo = (inputs_of(stage) for stage in forms.PIPELINE)
    preset = forms.first(sent).get("preset", "")
    asked = {"model": sft["model"], "demonstrations": sft["demonstrations"], "preferences": reward["rankings"]}
    asked |= {"prompts": ppo["prompts"], "pretraining": ppo["pretraining"], "project": ppo["project"]}
    return render(
        request,
        "start_pipeline.html",
        me,
        422 if error else 200,
        sections=[section(stage, preset, f"{stage.value}.") for stage in forms.PIPELINE],
        asked=asked,
        offered={name: list(inputs.options(session, one)) for name, one in asked.items()},
        wrong=forms.by_field(problems),
        **_as_sent(sent),
        **shown,
    )
