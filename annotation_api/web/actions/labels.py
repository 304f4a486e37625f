"""Names, notes and tags changed by the form on each page; on an error it comes back as it was."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from annotation_api.datasets import service as datasets
from annotation_api.http.dependencies import ENGINEERS, Config, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError, valid
from annotation_api.http.labels import Labelled, Labels, label
from annotation_api.jobs import service as jobs
from annotation_api.jobs.pipelines import service as pipelines
from annotation_api.models import service as models
from annotation_api.web.data import shown_dataset
from annotation_api.web.jobs import shown_job, shown_pipeline
from annotation_api.web.markup.rendering import read_form, see_other, text_of
from annotation_api.web.markup.returned import Returned, returned
from annotation_api.web.models import shown_model
from annotation_api.web.snapshots import shown_snapshot
from annotation_api.web.start.forms import posted, tags_of

router = APIRouter(route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]


def labels_of(form: FormData) -> Labels:
    """What the form says; a name that is left empty stays as it was. Raises ApiError 422."""
    body = {"notes": text_of(form, "notes").replace("\r\n", "\n"), "tags": tags_of(text_of(form, "tags"))}
    named = {"name": name} if (name := text_of(form, "name").strip()) else {}
    return valid(Labels, body | named)


def _labelled(
    session: Session, row: Labelled, form: FormData, path: str, again: Callable[[Returned], Response]
) -> Response:
    """The row with its new labels, at its page; `again` shows that page with a form that has an error."""
    try:
        label(row, labels_of(form))
    except ApiError as error:
        session.rollback()
        return again(returned("labels", posted(form), error, Labels.model_fields))
    return see_other(path)


@router.post("/jobs/{job_id}/labels", dependencies=[allow(*ENGINEERS)])
def label_job(request: Request, job_id: uuid.UUID, session: Db, me: Me, settings: Config, form: Form) -> Response:
    def again(back: Returned) -> Response:
        return shown_job(request, session, me, settings, job_id, back)

    return _labelled(session, jobs.get(session, job_id), form, f"/jobs/{job_id}", again)


@router.post("/pipelines/{pipeline_id}/labels", dependencies=[allow(*ENGINEERS)])
def label_pipeline(request: Request, pipeline_id: uuid.UUID, session: Db, me: Me, form: Form) -> Response:
    def again(back: Returned) -> Response:
        return shown_pipeline(request, session, me, pipeline_id, back)

    row = pipelines.get(session, pipeline_id, lock=True)
    return _labelled(session, row, form, f"/pipelines/{pipeline_id}", again)


@router.post("/models/{model_id}/labels", dependencies=[allow(*ENGINEERS)])
def label_model(request: Request, model_id: uuid.UUID, session: Db, me: Me, form: Form) -> Response:
    def again(back: Returned) -> Response:
        return shown_model(request, session, me, model_id, back)

    return _labelled(session, models.get_model(session, model_id), form, f"/models/{model_id}", again)


@router.post("/datasets/{dataset_id}/labels", dependencies=[allow(*ENGINEERS)])
def label_dataset(
    request: Request, dataset_id: uuid.UUID, session: Db, me: Me, settings: Config, form: Form
) -> Response:
    def again(back: Returned) -> Response:
        return shown_dataset(request, session, me, settings, dataset_id, back=back)

    return _labelled(session, datasets.get_dataset(session, dataset_id), form, f"/datasets/{dataset_id}", again)


@router.post("/snapshots/{snapshot_id}/labels", dependencies=[allow(*ENGINEERS)])
def label_snapshot(request: Request, snapshot_id: uuid.UUID, session: Db, me: Me, form: Form) -> Response:
    def again(back: Returned) -> Response:
        return shown_snapshot(request, session, me, snapshot_id, back)

    return _labelled(session, datasets.get_snapshot(session, snapshot_id), form, f"/snapshots/{snapshot_id}", again)
