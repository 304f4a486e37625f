"""Bodies of /v1/leaderboard."""

from __future__ import annotations

import uuid

from pydantic import BaseModel, Field

from annotation_api.db.tables import ModelKind


class ModelStanding(BaseModel):
    """A model version among those that it was compared with."""

    model: uuid.UUID
    name: str
    kind: ModelKind
    group: int = Field(description="Only models of one group can be compared: games lead from each to each.")
    strength: float = Field(description="Bradley and Terry's, with ties as Davidson has them; the mean is 0.")
    low: float | None = Field(description="95 % interval by a bootstrap over tasks; null for too few tasks.")
    high: float | None
    elo: float = Field(description="The strength on Elo's scale: 400 points are odds of 10 to 1; the mean is 1000.")
    elo_low: float | None
    elo_high: float | None
    comparisons: int
    wins: int
    losses: int
    ties: int


class Duel(BaseModel):
    """Two models' responses beside one another, as people ranked them."""

    first: uuid.UUID
    second: uuid.UUID
    wins: int = Field(description="The first is better.")
    losses: int
    ties: int


class LengthEffect(BaseModel):
    """What a response of twice the length gains, in log-odds of winning, whoever wrote it."""

    value: float
    low: float | None
    high: float | None


class Leaderboard(BaseModel):
    """Who wins, by all comparisons that people ever made of the models' responses."""

    models: list[ModelStanding] = Field(description="The strongest first.")
    duels: list[Duel]
    length: LengthEffect | None = Field(description="Where length was controlled.")
    criteria: list[str] = Field(description="By which people compared; each can be asked for alone.")
    languages: list[str]
