"""What callers send and get about gold items, a project's rules of quality, and those who are screened."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from alignment.shared.validation import SentenceText
from annotation_api.annotation.gold.expected import Expected
from annotation_api.db.tables import FeedbackKind, GoldUse
from annotation_api.http.schemas import Body, Patch, Shown, storable_text

OneSentence = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000), AfterValidator(storable_text)
]


class NewGold(Body):
    expected: Expected
    why: OneSentence = Field(description="One sentence: why this is the right answer. Shown at the entry.")
    use: GoldUse = Field(default=GoldUse.MIXED, description="Mixed in blind, or of the qualification set.")


class GoldOut(BaseModel):
    task: uuid.UUID
    kind: FeedbackKind
    prompt: dict[str, Any]
    use: GoldUse
    expected: Expected
    why: str
    made_by: str = Field(description="A pseudonym; who made an item is never asked it.")
    created_at: datetime
    withdrawn_at: datetime | None
    answers: int = Field(description="First answers so far.")
    correct: int


class GoldItems(BaseModel):
    items: list[GoldOut] = Field(description="Newest first.")


class QualityRulesOut(Shown):
    gold_rate: float = Field(description="The share of claims that bring a gold item.")
    bar: float | None = Field(description="Accuracy on gold items below which a person is paused; null: nobody is.")
    entry: float | None = Field(description="The share of the qualification set to be right; null: it is not asked.")
    names_shown: bool = Field(description="Reviewers see names beside pseudonyms.")


class QualityRulesPatch(Patch):
    """The fields to change; what is left out stays."""

    NULLABLE = frozenset({"bar", "entry"})

    gold_rate: float | None = Field(default=None, ge=0, le=0.5)
    bar: float | None = Field(default=None, gt=0, lt=1, description="null: nobody is paused.")
    entry: float | None = Field(default=None, gt=0, le=1, description="null: everybody may enter.")
    names_shown: bool | None = Field(default=None, description="For admins to set.")


class NewPause(Body):
    reason: OneSentence


class ScreenedOut(BaseModel):
    """A person who is screened in a project."""

    id: uuid.UUID
    annotator: str = Field(description="The pseudonym.")
    name: str | None = Field(description="For admins, and for reviewers where an admin shows names.")
    gold: int = Field(description="Answers to mixed gold items.")
    correct: int
    accuracy: float | None
    accuracy_ci95: tuple[float, float] | None
    entered_at: datetime | None
    paused_at: datetime | None
    paused_by_rule: bool
    reason: SentenceText | None


class ScreenedPeople(BaseModel):
    items: list[ScreenedOut] = Field(description="By pseudonym.")
