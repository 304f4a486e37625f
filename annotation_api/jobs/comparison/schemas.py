"""Bodies of comparisons: jobs beside jobs, models beside models."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from alignment.shared.config import Stage
from alignment.shared.validation import SentenceText
from annotation_api.db.kinds import JobState, ModelKind
from annotation_api.jobs.curves import ChartGroup


class ComparedJob(BaseModel):
    id: uuid.UUID
    label: str
    stage: Stage
    state: JobState
    model: uuid.UUID | None = Field(description="What it made.")
    created_at: datetime


class ComparedNumber(BaseModel):
    """A final number of one side, with its 95 % interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


class NumberRow(BaseModel):
    """One number of every side, in the order of the sides; null where a side has none."""

    name: str
    values: list[ComparedNumber | None]


class SettingRow(BaseModel):
    """A setting that is not the same on all sides; `absent` where a side does not have it."""

    name: str
    values: list[Any]


class JobComparison(BaseModel):
    """Jobs side by side."""

    jobs: list[ComparedJob]
    notes: list[SentenceText] = Field(description="What limits the comparison.")
    settings: list[SettingRow]
    numbers: list[NumberRow]
    charts: list[ChartGroup] = Field(description="Each metric with a series of every job, thinned.")


class ComparedModel(BaseModel):
    id: uuid.UUID
    label: str
    kind: ModelKind
    aliases: list[str]
    job: uuid.UUID | None


class PromptReplies(BaseModel):
    """A held-out prompt and what each model replies; null where it was not asked."""

    prompt: str
    replies: list[str | None]


class Promotion(BaseModel):
    """Whether the second of two models may take the first one's place."""

    rule: str
    met: bool
    because: SentenceText


class ModelComparison(BaseModel):
    """Models side by side."""

    models: list[ComparedModel]
    notes: list[SentenceText] = Field(description="What limits the comparison.")
    numbers: list[NumberRow]
    promotion: Promotion | None = Field(
        description="Of two models of one kind, the first as champion and the second as challenger."
    )
    prompts: list[PromptReplies]
