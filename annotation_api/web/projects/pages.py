"""The pages of a project: made, changed, filled from a data set, watched."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from alignment.shared.validation import explain
from annotation_api.annotation.gold import screening
from annotation_api.annotation.projects import bulk, from_dataset
from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.projects.schemas import FromDataset, FromDatasetOut, ProjectPatch
from annotation_api.annotation.submissions import queries as judgements
from annotation_api.annotation.tasks import queries as tasks
from annotation_api.annotation.tasks.schemas import ProjectOut
from annotation_api.db.tables import Dataset, ModelVersion, Person, Project, Role
from annotation_api.db.tallies import counts
from annotation_api.http.dependencies import ANNOTATES, ENGINEERS, SIGNED_IN, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError
from annotation_api.http.quotas import Quota, spends
from annotation_api.web import queries
from annotation_api.web.markup.language import language_of
from annotation_api.web.markup.rendering import read_form, render, see_other
from annotation_api.web.projects import preview, project_form, samples, toy
from annotation_api.web.projects.form_builder import CLASSES, Fields, UnreadableForm, plain
from annotation_api.web.runs import titles

router = APIRouter(prefix="/projects", route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]
STANDINGS = {
    "close": ProjectPatch(closed=True),
    "open": ProjectPatch(closed=False),
    "archive": ProjectPatch(archived=True),
    "bring-back": ProjectPatch(archived=False),
}
BOXES = [f"{kind}.{name}" for kind in CLASSES for name in ("on", "demonstration")]  # not sent when left empty


@router.get("", dependencies=[allow(*SIGNED_IN)])
def list_page() -> Response:
    """The projects stand on the first page."""
    return see_other("/")


@router.get("/new", dependencies=[allow(*ENGINEERS)])
def new_page(request: Request, me: Me, preset: str = "") -> Response:
    """An empty form, or one that begins with a starting set."""
    if preset not in project_form.presets():
        return _form_page(request, me, project_form.empty_fields())
    return _form_page(request, me, project_form.preset_fields(preset, language_of(request, me)))


@router.post("", dependencies=[allow(*ENGINEERS)])
def create_project(request: Request, form: Form, session: Db, me: Me) -> Response:
    """Make the project; on an error the form comes back as it was, with the reason beside each field."""
    fields = project_form.posted(form)
    if fields.get("do", "").startswith("more-"):
        return _form_page(request, me, fields)
    try:
        if fields.get("do") == "look":
            return preview.show_forms(request, me, project_form.read_new(fields).forms, fields["name"])
        project = projects.create_project(session, me, project_form.read_new(fields))
    except (UnreadableForm, ApiError) as error:
        session.rollback()
        return _form_page(request, me, fields, error=error)
    return see_other(f"/projects/{project.id}")


@router.post("/toy", dependencies=[allow(*ENGINEERS)])
def create_toy(request: Request, session: Db, me: Me) -> Response:
    """A project with a few tasks of the toy world, for who wants to see every step first."""
    return see_other(f"/projects/{toy.make(session, me, language_of(request, me)).id}")


@router.get("/{project_id}/edit", dependencies=[allow(*ENGINEERS)])
def edit_page(project_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    shown = projects.show_projects(session, [projects.find_project(session, project_id)])[0]
    return _form_page(request, me, project_form.project_fields(shown), shown)


@router.post("/{project_id}/edit", dependencies=[allow(*ENGINEERS)])
def change_project(project_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    """Change the project; a changed form becomes a new version."""
    project, fields = projects.find_project(session, project_id), project_form.posted(form)
    shown = projects.show_projects(session, [project])[0]
    if fields.get("do", "").startswith("more-"):
        return _form_page(request, me, fields, shown)
    try:
        if fields.get("do") == "look":
            return preview.show_forms(request, me, project_form.read_patch(fields).forms or [], fields["name"])
        projects.change_project(session, me, project, project_form.read_patch(fields))
    except (UnreadableForm, ApiError) as error:
        session.rollback()
        return _form_page(request, me, fields, shown, error)
    return see_other(f"/projects/{project.id}")


def _problems(error: UnreadableForm | ApiError | None) -> dict[str, str]:
    """Sentences by the name of a field."""
    if isinstance(error, ApiError):
        return {"name" if error.slug == "name-taken" else "forms": error.detail}
    return error.problems if error else {}


def _form_page(
    request: Request,
    me: Person,
    fields: Fields,
    project: ProjectOut | None = None,
    error: UnreadableForm | ApiError | None = None,
) -> Response:
    status = error.status if isinstance(error, ApiError) else 422 if error else 200
    return render(
        request,
        "project_form.html",
        me,
        status,
        project=project,
        standing=[form.kind.value for form in project.forms] if project else [],
        fields=project_form.empty_fields() | dict.fromkeys(BOXES, "") | dict(fields),
        blocks={kind: project_form.blocks_of(kind, fields) for kind in ("questions", "rules")},
        presets=project_form.presets(),
        problems=_problems(error),
    )


@router.get("/{project_id}", dependencies=[allow(*SIGNED_IN)])
def project_page(project_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    return _project_page(request, session, me, projects.find_project(session, project_id))


@router.post("/{project_id}/tasks", dependencies=[allow(*ENGINEERS)])
def fill(project_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    """Say how many tasks and judgements a data set would give, or make them; again adds only what is missing."""
    project, fields = projects.find_project(session, project_id), project_form.posted(form)
    try:
        report = from_dataset.add_from_dataset(session, project, _wanted(fields))
    except UnreadableForm as error:
        return _project_page(request, session, me, project, fields, problems=error.problems)
    except ApiError as error:
        session.rollback()
        problems = {each.pointer.strip("/"): each.message for each in error.problems} or {"dataset": error.detail}
        return _project_page(request, session, me, project, fields, problems=problems)
    return _project_page(request, session, me, project, fields, report=report)


@router.post("/{project_id}/standing", dependencies=[allow(*ENGINEERS)])
def set_standing(project_id: uuid.UUID, form: Form, session: Db, me: Me) -> Response:
    """Close a project, open it again, put it away into the archive or bring it back."""
    wanted = STANDINGS.get(project_form.posted(form).get("do", ""))
    if wanted is None:
        raise ApiError(
            422,
            "invalid",
            Sentence("choose-what-to-do", "Choose what to do: %(standings)s.", standings=", ".join(STANDINGS)),
        )
    projects.change_project(session, me, projects.find_project(session, project_id), wanted)
    return see_other(f"/projects/{project_id}")


@router.post("/{project_id}/samples", dependencies=[allow(*ENGINEERS), spends(Quota.JOBS)])
def sample(project_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    """Let a model answer prompts; its answers become tasks of the project."""
    project, fields = projects.find_project(session, project_id), project_form.posted(form)
    try:
        return see_other(f"/jobs/{samples.start(session, me, project, fields).id}")
    except UnreadableForm as error:
        session.rollback()
        return _project_page(request, session, me, project, sampling=fields, problems=error.problems)


def _wanted(fields: Fields) -> FromDataset:
    body = {name: fields[name] for name in FromDataset.model_fields if fields.get(name)}
    body["dry_run"] = "true" if fields.get("do") == "look" else "false"
    try:
        return FromDataset.model_validate(body)
    except ValidationError as error:
        problems = {each.pointer.strip("/"): plain(each.message) for each in explain(error, FromDataset)}
        raise UnreadableForm(problems) from None


def _project_page(
    request: Request,
    session: Session,
    me: Person,
    project: Project,
    filling: Fields | None = None,
    *,
    problems: Mapping[str, str] | None = None,
    report: FromDatasetOut | None = None,
    sampling: Fields | None = None,
) -> Response:
    engineer = me.role in ENGINEERS
    datasets = queries.newest(session, Dataset) if engineer else []
    models = samples.models_of(queries.newest(session, ModelVersion)) if engineer else []
    return render(
        request,
        "project.html",
        me,
        422 if problems else 200,
        project=projects.show_project(session, me, project),
        owns=engineer and project.created_by == me.id,
        left=tasks.left_for(session, me, project.id) if me.role in ANNOTATES else None,
        paused=screening.pauses_of(session, me, [project.id]).get(project.id),
        done=judgements.judged_today(session, me, project.id) if me.role in ANNOTATES else None,
        days=counts.judged_by_day(session, project.id) if me.role != Role.ANNOTATOR else [],
        versions=projects.form_versions(session, project) if engineer else [],
        datasets=[row for row in datasets if row.kind in bulk.HOLDS],
        models=models,
        titles=titles.of_models(session, [row.id for row in models]),
        prompts=samples.prompts_of(datasets),
        filling=filling or {},
        sampling=sampling or {},
        problems=problems or {},
        report=report,
    )
