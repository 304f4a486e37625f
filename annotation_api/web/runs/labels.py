"""Names, notes and tags changed by the form on each page."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from starlette.datastructures import FormData

from annotation_api.datasets import service as datasets
from annotation_api.http.dependencies import ENGINEERS, Db, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import valid
from annotation_api.http.labels import Labels, label
from annotation_api.jobs import service as jobs
from annotation_api.models import service as models
from annotation_api.web.markup.rendering import read_form, see_other, text_of
from annotation_api.web.start.forms import tags_of

router = APIRouter(route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]


def labels_of(form: FormData) -> Labels:
    """What the form says; a name that is left empty stays as it was. Raises ApiError 422."""
    body = {"notes": text_of(form, "notes").replace("\r\n", "\n"), "tags": tags_of(text_of(form, "tags"))}
    named = {"name": name} if (name := text_of(form, "name").strip()) else {}
    return valid(Labels, body | named)


@router.post("/jobs/{job_id}/labels", dependencies=[allow(*ENGINEERS)])
def label_job(job_id: uuid.UUID, session: Db, form: Form) -> Response:
    label(jobs.get(session, job_id), labels_of(form))
    return see_other(f"/jobs/{job_id}")


@router.post("/models/{model_id}/labels", dependencies=[allow(*ENGINEERS)])
def label_model(model_id: uuid.UUID, session: Db, form: Form) -> Response:
    label(models.get_model(session, model_id), labels_of(form))
    return see_other(f"/models/{model_id}")


@router.post("/datasets/{dataset_id}/labels", dependencies=[allow(*ENGINEERS)])
def label_dataset(dataset_id: uuid.UUID, session: Db, form: Form) -> Response:
    label(datasets.get_dataset(session, dataset_id), labels_of(form))
    return see_other(f"/datasets/{dataset_id}")


@router.post("/snapshots/{snapshot_id}/labels", dependencies=[allow(*ENGINEERS)])
def label_snapshot(snapshot_id: uuid.UUID, session: Db, form: Form) -> Response:
    label(datasets.get_snapshot(session, snapshot_id), labels_of(form))
    return see_other(f"/snapshots/{snapshot_id}")
