"""What callers get about the audit."""

from __future__ import annotations

import uuid
from datetime import datetime

from pydantic import BaseModel, Field

from annotation_api.db.tables import AuditOutcome
from annotation_api.http.schemas import Shown


class AuditRowOut(Shown):
    seq: int = Field(description="From 1, without gaps.")
    at: datetime
    person_id: uuid.UUID | None = Field(description="Null: nobody was signed in.")
    pseudonym: str | None
    action: str = Field(description="Method and route.")
    objects: dict[str, str] = Field(description="The ids in the path, by name; `made` is what was created.")
    outcome: AuditOutcome
    request_id: str
    address: str
    sha256: str = Field(description="The seal of the row and of the one before it.")


class AuditVerdict(BaseModel):
    ok: bool
    rows: int = Field(description="The newest row that holds; all of them where `ok`.")
    sha256: str = Field(description="Its seal. Note both elsewhere: asked for later, they show that no row vanished.")
    broken: int | None = Field(description="The first row that does not hold.")
    reason: str | None
