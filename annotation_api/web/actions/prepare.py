"""Work on data on the page: a data set's forms queue the job, whose page shows what would go and keeps the rest."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.config import Stage
from alignment.shared.on_data.instruct import MOST_MADE
from alignment.shared.on_data.prepare import PERSONAL, PersonalKind
from annotation_api.datasets import prepared
from annotation_api.datasets.schemas import FromPreparation
from annotation_api.db.tables import Person
from annotation_api.http.dependencies import ENGINEERS, Config, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError, valid
from annotation_api.http.schemas import Body
from annotation_api.jobs import service as jobs
from annotation_api.jobs.schemas import NewJob
from annotation_api.settings import Settings
from annotation_api.web.data import shown_dataset
from annotation_api.web.markup.rendering import read_form, see_other
from annotation_api.web.markup.returned import Posted, returned
from annotation_api.web.start import forms
from annotation_api.web.start.inputs import reference

router = APIRouter(route_class=DoorRoute)
TEACHER = "teacher"  # before the name of an endpoint, among those who can answer
ANSWERS = {"model": "answers", "teacher": "answers"}  # the field in which either is chosen
CapBy = Literal["language", "criterion", "source", "kind"]
Words = Annotated[str, Field(max_length=1000)]
Reference = Annotated[str, Field(max_length=200)]
Whole = Annotated[int, Field(ge=0, le=10**6)]
Percent = Annotated[int, Field(ge=0, le=100)]
Form = Annotated[FormData, Depends(read_form)]


class PrepareForm(Body):
    """The form of a preparation, in the units that it shows."""

    duplicates: Literal["keep", "exact", "near"] = "keep"
    near_threshold: Annotated[int, Field(ge=50, le=100)] = 80
    personal: Literal["keep", "mask", "leave_out"] = "keep"
    personal_kinds: tuple[PersonalKind, ...] = PERSONAL
    repeated_lines: bool = False
    min_characters: Whole = 0
    max_characters: Whole = 0
    max_repetition: Percent = 100
    max_symbols: Percent = 100
    languages: Words = ""
    cap_by: CapBy = "language"
    cap: Whole = 0
    weights: Words = ""
    seed: Whole = 0
    evaluation: Reference = ""
    against: Reference = ""
    tokenizer: Reference = ""

    def job(self, dataset: uuid.UUID) -> NewJob:
        beside = ("evaluation", "against", "tokenizer")
        shares = ("near_threshold", "max_repetition", "max_symbols")
        config = self.model_dump(exclude=set(beside))
        config |= {name: config[name] / 100 for name in shares}
        config["languages"] = self.languages.replace(",", " ").lower().split()
        config["weights"] = _weights(self.weights)
        named = {name: reference(value) for name in beside if (value := getattr(self, name))}
        inputs = {"records": {"dataset": dataset}} | named
        return NewJob(stage=Stage.PREPARE, inputs=inputs, config=config)


class InstructForm(Body):
    """The form of self-instruct; `answers` is a model of the registry or `teacher:NAME`."""

    answers: Reference = ""
    teacher_model: Words = ""
    count: Annotated[int, Field(ge=1, le=MOST_MADE)] = 100
    language: Literal["en", "zh"] = "en"
    makes: Literal["demonstrations", "prompts"] = "demonstrations"
    likeness: Annotated[int, Field(ge=1, le=100)] = 70

    def job(self, dataset: uuid.UUID) -> NewJob:
        config: dict[str, Any] = self.model_dump(include={"count", "language", "makes"})
        config["likeness"] = self.likeness / 100
        inputs: dict[str, Any] = {"seeds": {"dataset": dataset}}
        kind, _, name = self.answers.partition(":")
        if kind == TEACHER:
            config |= {"teacher": name, "teacher_model": self.teacher_model.strip() or None}
        elif self.answers:
            inputs["model"] = reference(self.answers)
        return NewJob(stage=Stage.INSTRUCT, inputs=inputs, config=config)


@router.post("/datasets/{dataset_id}/prepare", dependencies=[allow(*ENGINEERS)])
def prepare(request: Request, dataset_id: uuid.UUID, session: Db, me: Me, settings: Config, form: Form) -> Response:
    """Queue the preparation; the page of its job. Nothing is written before somebody says so there."""
    return _queue(request, session, me, settings, dataset_id, forms.posted(form), PrepareForm)


@router.post("/datasets/{dataset_id}/instruct", dependencies=[allow(*ENGINEERS)])
def instruct(request: Request, dataset_id: uuid.UUID, session: Db, me: Me, settings: Config, form: Form) -> Response:
    """Queue a job that makes instructions from these; its page."""
    return _queue(request, session, me, settings, dataset_id, forms.posted(form), InstructForm)


def _queue(
    request: Request,
    session: Session,
    me: Person,
    settings: Settings,
    dataset: uuid.UUID,
    sent: Posted,
    asked: type[PrepareForm | InstructForm],
) -> Response:
    """The page of the queued job; on an error the form comes back on its data set's page, as it was."""
    try:
        job = jobs.create(session, me, valid(asked, _given(asked, sent)).job(dataset))
        return see_other(f"/jobs/{job.id}")
    except ApiError as error:
        session.rollback()
        stage = "prepare" if asked is PrepareForm else "instruct"
        back = returned(stage, sent, error, asked.model_fields, ANSWERS)
        return shown_dataset(request, session, me, settings, dataset, back=back)


def _given(asked: type[BaseModel], sent: Posted) -> dict[str, Any]:
    """The fields in which something stands; what is left empty is as usual."""
    found = {name: [value for value in sent.get(name, ()) if value] for name in asked.model_fields}
    return {name: values if name == "personal_kinds" else values[0] for name, values in found.items() if values}


def _weights(text: str) -> dict[str, Any]:
    """`en = 2, zh = 0.5`; what is no number is refused with the other settings."""
    pairs = [part.partition("=")[::2] for part in text.split(",") if part.strip()]
    return {name.strip(): _number(value.strip()) for name, value in pairs}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


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
