"""What callers send and get about judgements."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from annotation_api.schemas import Body


class RankingPayload(Body):
    groups: list[list[uuid.UUID]] = Field(
        min_length=1, description="Response ids, best group first; several in a group are a tie. Each exactly once."
    )
    all_bad: bool = Field(default=False, description="None of the responses is acceptable.")
    strength: int | None = Field(default=None, ge=1, le=4, description="How much better: 4 is significantly better.")
    note: str | None = Field(default=None, max_length=2000)


class NewSubmission(Body):
    id: uuid.UUID = Field(description="Made by the client, once for an answer: a retry with it is safe.")
    assignment: uuid.UUID
    kind: Literal["ranking"] = "ranking"
    payload: RankingPayload
    supersedes: uuid.UUID | None = Field(default=None, description="The own submission that this one corrects.")
    active_ms: int | None = Field(default=None, ge=0, le=86_400_000, description="Milliseconds spent on the task.")


class SubmissionOut(BaseModel):
    id: uuid.UUID
    assignment: uuid.UUID
    task: uuid.UUID
    project: uuid.UUID
    annotator: str = Field(description="The person's pseudonym.")
    kind: str
    payload: dict[str, Any]
    supersedes: uuid.UUID | None
    current: bool = Field(description="False once a correction supersedes it.")
    active_ms: int | None
    created_at: datetime
