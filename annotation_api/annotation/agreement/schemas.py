"""Bodies of /v1/projects/{id}/agreement."""

from __future__ import annotations

import uuid
from enum import StrEnum

from pydantic import BaseModel, Field

from annotation_api.db.kinds import Slice


class Statistic(StrEnum):
    """How agreement is put into a number."""

    PAIRS = "pairs"
    TAU = "tau_b"
    W = "w"
    SAME = "same"
    NOMINAL = "alpha_nominal"
    ORDINAL = "alpha_ordinal"
    RATIO = "alpha_ratio"


class AgreementFigure(BaseModel):
    """One number, and what it rests on."""

    statistic: Statistic = Field(
        description="pairs: how often one person's order of two responses predicts another's preference, a tie half; "
        "tau_b, w: Kendall's, means over tasks; same: how often two people give the same value; alpha: Krippendorff's."
    )
    subject: str = Field(description="`question ID`, `rule ID` or `rating`; empty: the orders of responses.")
    slice: Slice
    value: str = Field(description="Of the slice: a criterion, a language, a day, a pseudonym, two with ` | ` between.")
    estimate: float | None = Field(description="null: everybody gave one and the same value, which says nothing.")
    low: float | None = Field(description="95 % interval over prompts; alpha has none.")
    high: float | None
    items: int = Field(description="Comparisons; for alpha: things that two people or more gave a value.")
    prompts: int | None = Field(description="The independent observations behind them.")


class AgreementOut(BaseModel):
    """How far the people of a project agree."""

    project: uuid.UUID
    waiting: int = Field(description="Judgements that are not counted yet; most of the time none.")
    ceiling: AgreementFigure | None = Field(
        description="Agreement on pairs of all: what the reward stage's gate measures a reward model against."
    )
    figures: list[AgreementFigure]
    left_out: int = Field(description="Sums of very many pairs of people: those that rest on least are not told.")


class Trust(BaseModel):
    """How reliable a person is in one kind of judgement, as far as the others' judgements tell."""

    person: str = Field(description="A pseudonym.")
    subject: str = Field(description="`question ID`, `rule ID` or `rating`; empty: the orders of responses.")
    value: float = Field(description="The chance that a vote is right.")
    low: float = Field(description="95 % interval.")
    high: float
    weight: float = Field(description="What a vote is worth where votes count by reliability; a coin's is worth 0.")
    votes: int
    items: int = Field(description="Tasks or things that others judged, too.")


class TrustOut(BaseModel):
    """Whom to trust, how far; who agrees least with what is likely true stands first."""

    project: uuid.UUID
    prompts: int = Field(description="The newest, from which this is estimated.")
    people: list[Trust]
