"""Fields of the forms that ask a page for something: one that was left empty chooses nothing, and what is no such value
is refused, not passed over."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator

LEFT_EMPTY = BeforeValidator(lambda value: value or None)
Words = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]  # what Postgres can hold
ChosenId = Annotated[uuid.UUID | None, LEFT_EMPTY]
