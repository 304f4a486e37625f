"""Work on data on the page: a data set's forms queue the job, whose page shows what would go and keeps the rest."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Response

from alignment.shared.config import Stage
from alignment.shared.on_data.instruct import MOST_MADE
from alignment.shared.on_data.prepare import PERSONAL, PersonalKind
from annotation_api.datasets import prepared
from annotation_api.datasets.schemas import FromPreparation
from annotation_api.http.dependencies import ENGINEERS, Config, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.jobs import service as jobs
from annotation_api.jobs.schemas import NewJob
from annotation_api.web.markup.rendering import see_other
from annotation_api.web.start.inputs import reference

router = APIRouter(route_class=DoorRoute)
TEACHER = "teacher"  # before the name of an endpoint, among those who can answer
CapBy = Literal["language", "criterion", "source", "kind"]
Words = Annotated[str, Form(max_length=1000)]
Reference = Annotated[str, Form(max_length=200)]
Whole = Annotated[int, Form(ge=0, le=10**6)]
Percent = Annotated[int, Form(ge=0, le=100)]


@router.post("/datasets/{dataset_id}/prepare", dependencies=[allow(*ENGINEERS)])
def prepare(
    dataset_id: uuid.UUID,
    session: Db,
    me: Me,
    duplicates: Annotated[Literal["keep", "exact", "near"], Form()] = "keep",
    near_threshold: Annotated[int, Form(ge=50, le=100)] = 80,
    personal: Annotated[Literal["keep", "mask", "leave_out"], Form()] = "keep",
    personal_kinds: Annotated[tuple[PersonalKind, ...], Form()] = PERSONAL,
    repeated_lines: Annotated[bool, Form()] = False,
    min_characters: Whole = 0,
    max_characters: Whole = 0,
    max_repetition: Percent = 100,
    max_symbols: Percent = 100,
    languages: Words = "",
    cap_by: Annotated[CapBy, Form()] = "language",
    cap: Whole = 0,
    weights: Words = "",
    seed: Whole = 0,
    evaluation: Reference = "",
    against: Reference = "",
    tokenizer: Reference = "",
) -> Response:
    """Queue the preparation; the page of its job. Nothing is written before somebody says so there."""
    config: dict[str, Any] = {
        "duplicates": duplicates,
        "near_threshold": near_threshold / 100,
        "personal": personal,
        "personal_kinds": list(personal_kinds),
        "repeated_lines": repeated_lines,
        "min_characters": min_characters,
        "max_characters": max_characters,
        "max_repetition": max_repetition / 100,
        "max_symbols": max_symbols / 100,
        "languages": languages.replace(",", " ").lower().split(),
        "cap_by": cap_by,
        "cap": cap,
        "weights": _weights(weights),
        "seed": seed,
    }
    named = {"evaluation": evaluation, "against": against, "tokenizer": tokenizer}
    inputs = {"records": {"dataset": dataset_id}} | {name: reference(value) for name, value in named.items() if value}
    job = jobs.create(session, me, NewJob(stage=Stage.PREPARE, inputs=inputs, config=config))
    return see_other(f"/jobs/{job.id}")


def _weights(text: str) -> dict[str, Any]:
    """`en = 2, zh = 0.5`; what is no number is refused with the other settings."""
    pairs = [part.partition("=")[::2] for part in text.split(",") if part.strip()]
    return {name.strip(): _number(value.strip()) for name, value in pairs}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@router.post("/datasets/{dataset_id}/instruct", dependencies=[allow(*ENGINEERS)])
def instruct(
    dataset_id: uuid.UUID,
    session: Db,
    me: Me,
    answers: Reference = "",
    teacher_model: Words = "",
    count: Annotated[int, Form(ge=1, le=MOST_MADE)] = 100,
    language: Annotated[Literal["en", "zh"], Form()] = "en",
    makes: Annotated[Literal["demonstrations", "prompts"], Form()] = "demonstrations",
    likeness: Annotated[int, Form(ge=1, le=100)] = 70,
) -> Response:
    """Queue a job that makes instructions from these; `answers` is a model of the registry or `teacher:NAME`."""
    config: dict[str, Any] = {"count": count, "language": language, "makes": makes, "likeness": likeness / 100}
    inputs: dict[str, Any] = {"seeds": {"dataset": dataset_id}}
    kind, _, name = answers.partition(":")
    if kind == TEACHER:
        config |= {"teacher": name, "teacher_model": teacher_model.strip() or None}
    elif answers:
        inputs["model"] = reference(answers)
    job = jobs.create(session, me, NewJob(stage=Stage.INSTRUCT, inputs=inputs, config=config))
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
