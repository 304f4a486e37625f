"""What the bodies of all features share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A request body: unknown keys are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Shown(BaseModel):
    """An answer, read off a row."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())
