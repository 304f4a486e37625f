"""Bodies of /v1/pipelines."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from alignment.shared.config import Stage
from annotation_api.db.tables import JobState
from annotation_api.http.labels import NewLabels
from annotation_api.http.schemas import Body
from annotation_api.jobs.schemas import DataRef, JobOut, ModelRef, Preset, SomeGpus


class NewPipeline(NewLabels):
    """SFT, reward model and PPO in turn, each on what the one before made."""

    model: ModelRef
    demonstrations: DataRef
    preferences: DataRef = Field(description="Preferences or rankings.")
    prompts: DataRef | None = Field(default=None, description="For PPO; unset: those of the preferences.")
    pretraining: DataRef | None = Field(
        default=None, description="For PPO where its `ptx_coef` is above 0; unset: the demonstrations."
    )
    project: uuid.UUID | None = Field(
        default=None, description="Where people compare PPO's held-out replies with the SFT policy's; unset: nobody."
    )
    preset: Preset | None = None
    config: dict[Stage, dict[str, Any]] = Field(default={}, description="Settings of each stage, over the preset's.")
    gpus: SomeGpus = Field(default=1, description="Of each of its jobs, as for a job.")
    allow_cpu: bool = Field(
        default=False, description="On a cluster without a GPU now, run on the CPU instead of waiting for one."
    )
    priority: int = Field(default=0, ge=-1000, le=1000)


class ResumedPipeline(Body):
    """With what the stages go on that have not succeeded."""

    config: dict[Stage, dict[str, Any]] = Field(default={}, description="Settings of each stage, over the job's own.")


class PipelineOut(BaseModel):
    id: uuid.UUID
    name: str | None
    notes: str
    tags: list[str]
    state: JobState
    jobs: list[JobOut]
    created_by: uuid.UUID
    created_at: datetime
