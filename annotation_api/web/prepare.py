"""Preparing data on the page: a data set's form queues the job, whose page shows what would go and keeps the rest."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Response

from alignment.shared.config import Stage
from annotation_api.datasets import prepared
from annotation_api.datasets.schemas import FromPreparation
from annotation_api.http.dependencies import ENGINEERS, Config, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.jobs import service as jobs
from annotation_api.jobs.schemas import NewJob
from annotation_api.web.markup.rendering import see_other

router = APIRouter(route_class=DoorRoute)
Whole = Annotated[int, Form(ge=0, le=10**6)]
Percent = Annotated[int, Form(ge=0, le=100)]


@router.post("/datasets/{dataset_id}/prepare", dependencies=[allow(*ENGINEERS)])
def prepare(
    dataset_id: uuid.UUID,
    session: Db,
    me: Me,
    duplicates: Annotated[Literal["keep", "exact", "near"], Form()] = "keep",
    personal: Annotated[Literal["keep", "mask", "leave_out"], Form()] = "keep",
    repeated_lines: Annotated[bool, Form()] = False,
    min_characters: Whole = 0,
    max_characters: Whole = 0,
    max_repetition: Percent = 100,
    max_symbols: Percent = 100,
    cap: Whole = 0,
) -> Response:
    """Queue the preparation; the page of its job. Nothing is written before somebody says so there."""
    config: dict[str, Any] = {
        "duplicates": duplicates,
        "personal": personal,
        "repeated_lines": repeated_lines,
        "min_characters": min_characters,
        "max_characters": max_characters,
        "max_repetition": max_repetition / 100,
        "max_symbols": max_symbols / 100,
        "cap": cap,
    }
    inputs = {"records": {"dataset": dataset_id}}
    job = jobs.create(session, me, NewJob(stage=Stage.PREPARE, inputs=inputs, config=config))
    return see_other(f"/jobs/{job.id}")


@router.post("/jobs/{job_id}/keep", dependencies=[allow(*ENGINEERS)])
def keep(job_id: uuid.UUID, session: Db, me: Me, settings: Config) -> Response:
    """What the preparation would leave as a new data set; its page."""
    made = prepared.keep(session, me, settings.home, FromPreparation(job=job_id))
    return see_other(f"/datasets/{made.id}")


@router.post("/datasets/{dataset_id}/undo", dependencies=[allow(*ENGINEERS)])
def undo(dataset_id: uuid.UUID, session: Db) -> Response:
    """Remove a data set that a preparation made."""
    prepared.undo(session, dataset_id)
    return see_other("/datasets")
