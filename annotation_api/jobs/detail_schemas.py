"""Bodies of /v1/jobs/{id}/...: what a job tells, measures, saves and leaves."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from annotation_api.db.tables import AttemptOutcome
from annotation_api.http.schemas import Shown


class AttemptOut(Shown):
    """One claim of the job and how it ended."""

    epoch: int
    worker: str
    claimed_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    waited_seconds: float = Field(description="For a GPU.")
    outcome: AttemptOutcome | None = Field(description="Null while it is at work.")
    error: dict[str, Any] | None


class LogOut(BaseModel):
    """The end of what an attempt wrote."""

    epoch: int | None = Field(description="The attempt; null when there was none yet.")
    lines: list[str]


class Series(BaseModel):
    """One measured number over the steps of a phase; null where it was not finite."""

    phase: str
    name: str
    points: list[tuple[int, float | None]]


class LookOut(BaseModel):
    """A policy in training beside the SFT policy: replies to the same held-out prompts, judged by people who were not
    told whose is whose."""

    update: int = Field(description="Updates that the policy had had.")
    prompts: int = Field(description="Held-out prompts that were compared.")
    score: float | None = Field(description="The reward model's mean score of the policy's replies.")
    score_before: float | None = Field(description="And of the SFT policy's.")
    kl: float | None = Field(description="Mean KL to the SFT policy.")
    judged: int = Field(description="Prompts with different replies that somebody has judged.")
    identical: int = Field(description="Prompts with two identical replies: no task, a tie.")
    waiting: int = Field(description="Tasks that want more people than have judged them.")
    wins: int = Field(description="Judgements that prefer the policy's reply.")
    ties: int
    losses: int
    rate: float | None = Field(
        description="The policy's win rate, ties half: the mean over prompts of what people said, and half for "
        "identical replies. Null: nobody has judged any."
    )
    low: float | None = Field(description="Where its 95 % interval begins (Wilson's, over prompts).")
    high: float | None


class SavedOut(Shown):
    """A checkpoint that an attempt can go on from."""

    kind: Literal["saved"] = "saved"
    name: str
    epoch: int
    step: int
    sha256: str = Field(description="Of its manifest.")
    size: int
    seconds: float = Field(description="What saving took.")
    created_at: datetime
    removed_at: datetime | None


class CandidateOut(Shown):
    """A state that the stage compared when it had trained; `chosen` is the one that it kept."""

    kind: Literal["candidate"] = "candidate"
    id: uuid.UUID
    epoch: int
    step: int
    metrics: dict[str, Any]
    chosen: bool
    created_at: datetime


CheckpointOut = Annotated[SavedOut | CandidateOut, Field(discriminator="kind")]


class ArtifactOut(Shown):
    name: str
    sha256: str
    size: int
    removed_at: datetime | None
    erased_at: datetime | None = Field(description="When it was removed, because it showed data that were erased.")
