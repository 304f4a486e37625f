"""What callers get about signals in people's answers."""

from __future__ import annotations

import uuid

from pydantic import BaseModel, Field

from annotation_api.annotation.signals.readings import SignalName
from annotation_api.annotation.signals.researchers import ResearcherAgreement


class ReadingOut(BaseModel):
    signal: SignalName = Field(
        description="speed: faster than the texts can be read; straight: the same places or keys again and again; "
        "position: follows the places on the page; length: copies the order of lengths; apart: contradicts what the "
        "others say; pair: errs just as another person errs."
    )
    value: float = Field(description="A share; of `position` the mean Kendall's tau with the places, from -1 to 1.")
    ci95: tuple[float, float]
    answers: int = Field(description="On so many of the newest answers it rests.")
    raised: bool = Field(description="Chance hardly gives this: look at the evidence.")
    evidence: list[uuid.UUID] = Field(description="Answers that show it, newest first, 20 at most.")
    other: str | None = Field(description="Of `pair`: the other person's pseudonym.")


class PersonSignals(BaseModel):
    id: uuid.UUID
    annotator: str = Field(description="The pseudonym.")
    name: str | None = Field(description="For admins, and for reviewers where an admin shows names.")
    answers: int = Field(description="Newest first answers that were looked at, 200 at most.")
    readings: list[ReadingOut]
    researchers: ResearcherAgreement | None = Field(description="Agreement with decisions and gold items.")


class Signals(BaseModel):
    items: list[PersonSignals] = Field(description="Those with the most raised readings first.")
