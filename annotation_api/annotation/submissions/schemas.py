"""What callers send and get about judgements."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, StrictBool, StrictInt, StrictStr, Tag

from alignment.shared.records import Criterion
from annotation_api.db.forms import MAX_RANKED
from annotation_api.http.schemas import Body, StoredText, storable_text

MOST_ASKED = 40  # questions or rules of a form

T = TypeVar("T")
ByResponse = Annotated[dict[uuid.UUID, T], Field(max_length=MAX_RANKED)]
Ids = Annotated[list[StoredText], Field(max_length=MOST_ASKED)]  # of flags or rules


class BetterAnswer(Body):
    """A demonstration: what a good response would have been."""

    text: StoredText = Field(min_length=1, max_length=200_000)
    based_on: uuid.UUID | None = Field(default=None, description="The response that was edited; unset: from nothing.")


class Payload(Body):
    """What every kind of feedback may carry."""

    flags: ByResponse[Ids] = Field(default_factory=dict, description="Flags of the form, by response.")
    note: StoredText | None = Field(default=None, min_length=1, max_length=2000, description="Why.")
    demonstration: BetterAnswer | None = None


Groups = Annotated[
    list[Annotated[list[uuid.UUID], Field(max_length=MAX_RANKED)]], Field(min_length=1, max_length=MAX_RANKED)
]


class RankingPayload(Payload):
    groups: Groups = Field(
        description="Response ids, best group first; several in a group are a tie. Each exactly once."
    )
    apart: dict[Criterion, Groups] = Field(
        default_factory=dict, description="Of the criteria that the form ranks apart: an order of its own, as `groups`."
    )
    all_bad: bool = Field(default=False, description="None of the responses is acceptable.")
    strength: int | None = Field(default=None, ge=1, le=4, description="How much better: 4 is significantly better.")
    ratings: ByResponse[Annotated[int, Field(ge=1, le=7)]] = Field(
        default_factory=dict, description="1 (worst) to 7 (best), by response."
    )
    broken: ByResponse[Ids] = Field(default_factory=dict, description="Ids of broken rules, by response.")


def _storable(answer: object) -> object:
    return storable_text(answer) if isinstance(answer, str) else answer


class QuestionsPayload(Payload):
    answers: dict[str, Annotated[StrictBool | StrictInt | StrictStr, BeforeValidator(_storable)]] = Field(
        max_length=MOST_ASKED, description="By id of the question."
    )


class Verdict(StrEnum):
    BROKEN = "broken"
    KEPT = "kept"
    UNSURE = "unsure"


class RulesPayload(Payload):
    verdicts: dict[str, Verdict] = Field(max_length=MOST_ASKED, description="By id of the rule.")


class _NewSubmission(Body):
    id: uuid.UUID = Field(description="Made by the client, once for an answer: a retry with it is safe.")
    assignment: uuid.UUID
    supersedes: uuid.UUID | None = Field(default=None, description="The own submission that this one corrects.")
    active_ms: int | None = Field(default=None, ge=0, le=86_400_000, description="Milliseconds at work on the task.")
    total_ms: int | None = Field(default=None, ge=0, le=2_000_000_000, description="Milliseconds since it was shown.")


class NewRanking(_NewSubmission):
    kind: Literal["ranking"] = "ranking"
    payload: RankingPayload


class NewAnswers(_NewSubmission):
    kind: Literal["questions"]
    payload: QuestionsPayload


class NewVerdicts(_NewSubmission):
    kind: Literal["rules"]
    payload: RulesPayload


def _kind_of(body: Any) -> str:
    """A body without a kind is a ranking."""
    return str(body.get("kind", "ranking") if isinstance(body, dict) else getattr(body, "kind", "ranking"))


NewSubmission = Annotated[
    Annotated[NewRanking, Tag("ranking")]
    | Annotated[NewAnswers, Tag("questions")]
    | Annotated[NewVerdicts, Tag("rules")],
    Discriminator(_kind_of),
]


class Feedback(BaseModel):
    """On an answer to the qualification set."""

    correct: bool
    why: str = Field(description="What the right answer is, and why.")


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
    total_ms: int | None
    created_at: datetime
    erased_at: datetime | None = Field(default=None, description="Since when the payload says nothing.")
    feedback: Feedback | None = Field(
        default=None, description="On an answer to the qualification set, when it is given."
    )
