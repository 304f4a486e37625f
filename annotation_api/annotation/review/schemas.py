"""What reviewers send and get: answers as they were given, words on them, decisions, and the most disputed tasks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from alignment.shared.sentence import Sentence
from annotation_api.annotation.submissions.schemas import Payload, QuestionsPayload, RankingPayload, RulesPayload
from annotation_api.annotation.tasks.schemas import ShownResponse
from annotation_api.db.forms import FormSpec
from annotation_api.db.tables import FeedbackKind, ReviewOutcome
from annotation_api.http.schemas import Body, storable_text

Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000), AfterValidator(storable_text)
]
PAYLOADS: dict[FeedbackKind, type[Payload]] = {
    FeedbackKind.RANKING: RankingPayload,
    FeedbackKind.QUESTIONS: QuestionsPayload,
    FeedbackKind.RULES: RulesPayload,
}


class Reviewed(StrEnum):
    """How far the review of an answer has come."""

    OPEN = "open"  # nobody looked, or it was corrected since
    APPROVED = "approved"
    SENT_BACK = "sent_back"


@dataclass(frozen=True)
class AnswerFilter:
    """Which answers are wanted; what is unset does not matter."""

    annotator: str | None = None  # a pseudonym
    reviewed: Reviewed | None = None
    flag: str | None = None
    noted: bool = False  # with a note
    prompt: str | None = None  # words in it
    faster: float | None = None  # seconds at work
    slower: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    disagrees: bool = False  # somebody else said otherwise of the task


class ReviewOut(BaseModel):
    outcome: ReviewOutcome
    reviewer: str = Field(description="A pseudonym.")
    created_at: datetime


class AnswerOut(BaseModel):
    """An answer as it stands, with what its annotator saw."""

    id: uuid.UUID
    task: uuid.UUID
    assignment: uuid.UUID
    annotator: str = Field(description="The pseudonym.")
    name: str | None = Field(description="For admins, and for reviewers where an admin shows names.")
    paused: bool = Field(description="The person is paused in this project.")
    gold: bool = Field(description="The task is a gold item: its answers are never trained on.")
    kind: FeedbackKind
    prompt: dict[str, Any]
    responses: list[ShownResponse] = Field(description="In the order in which this person saw them.")
    payload: dict[str, Any]
    corrected: bool
    active_ms: int | None
    total_ms: int | None
    created_at: datetime
    review: ReviewOut | None = Field(description="The newest word on this very answer.")
    comments: int = Field(description="Messages between this person and those who look after the project.")


class DraftOut(BaseModel):
    """What stands in a form that was not submitted; never an answer."""

    assignment: uuid.UUID
    annotator: str
    payload: dict[str, Any]
    updated_at: datetime


class DecisionOut(BaseModel):
    id: uuid.UUID
    task: uuid.UUID
    reviewer: str = Field(description="A pseudonym.")
    kind: FeedbackKind
    payload: dict[str, Any]
    supersedes: uuid.UUID | None
    created_at: datetime


class TaskReview(BaseModel):
    """All that was said of a task, side by side."""

    task: uuid.UUID
    kind: FeedbackKind
    form: FormSpec
    rules: list[str] | None
    gold: bool
    prompt: dict[str, Any]
    responses: list[ShownResponse] = Field(description="In the order of sampling, which nobody saw.")
    disagreement: float = Field(description="From 0, all say the same, to 1: the mean over all pairs of answers.")
    answers: list[AnswerOut] = Field(description="Oldest first.")
    drafts: list[DraftOut]
    decision: DecisionOut | None = Field(description="The one that stands.")


class DisputedTask(BaseModel):
    task: uuid.UUID
    kind: FeedbackKind
    prompt: dict[str, Any]
    answers: int
    disagreement: float
    decided: bool


class Disputed(BaseModel):
    looked_at: int = Field(description="So many of the newest tasks with two answers or more were compared.")
    items: list[DisputedTask] = Field(description="The most disputed first; those that were decided are left out.")


class NewReview(Body):
    outcome: ReviewOutcome
    comment: Words | None = Field(default=None, description="To the person; needed to send an answer back.")

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if self.outcome is ReviewOutcome.SENT_BACK and self.comment is None:
            raise ValueError(
                Sentence("say-what-to-change", "An answer is sent back with a comment: say what should be changed.")
            )
        return self


class NewDecision(Body):
    payload: dict[str, Any] = Field(description="As of a submission of the task's kind.")
    supersedes: uuid.UUID | None = Field(default=None, description="The decision that this one replaces.")
