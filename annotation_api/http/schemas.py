"""What the bodies of all features share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator
from starlette.exceptions import HTTPException

from alignment.shared.sentence import Sentence
from alignment.shared.validation import NumbersAreNumbers, Problem

MOST_BYTES = 64 * 2**10  # of free-form JSON
MOST_LEVELS = 20  # of free-form JSON


WRITTEN = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")


def written_out(value: object) -> object:
    """Raise ValueError for a bare number: which second or millisecond since when it means is anybody's guess."""
    if isinstance(value, date) or (isinstance(value, str) and WRITTEN.match(value)):
        return value
    raise ValueError(Sentence("time-written-out", "write it out, as 2026-11-30 or 2026-11-30T09:30:00Z"))


Moment = Annotated[datetime, BeforeValidator(written_out)]
Day = Annotated[date, BeforeValidator(written_out)]


class Body(NumbersAreNumbers):
    """A request body: unknown keys are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Patch(Body):
    """What to change of a thing; what is left out stays. null says something in the fields of NULLABLE alone."""

    NULLABLE: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="after")
    def _null_means_something(self) -> Self:
        nulls = [key for key in self.model_fields_set - self.NULLABLE if getattr(self, key) is None]
        if nulls:
            raise ValueError(
                Sentence(
                    "null-means-nothing",
                    "%(nulls)s: null means nothing here; leave the field out to keep what is set",
                    nulls=nulls[0],
                )
            )
        return self


class Shown(BaseModel):
    """An answer, read off a row."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())


def storable_text(text: str) -> str:
    """Raise ValueError for what Postgres cannot hold: NUL, and half of a surrogate pair."""
    if "\0" in text:
        raise ValueError(Sentence("has-nul", "it has a NUL character, which cannot be stored; remove it"))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            Sentence("has-half-pair", "it has half of a surrogate pair, which is no character; remove it")
        ) from None
    return text


def unstorable(sent: object) -> Problem | None:
    """A text in a JSON value, keys included, that cannot be stored, with its place; None where all can."""
    waiting: list[tuple[str, object]] = [("", sent)]
    while waiting:
        at, value = waiting.pop()
        for text in value if isinstance(value, dict) else [value] if isinstance(value, str) else ():
            try:
                storable_text(text)
            except ValueError as error:
                return Problem(pointer=at or "/", message=error.args[0])
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        waiting += ((f"{at}/{place}", item) for place, item in inner)
    return None


class WrongBody(HTTPException):
    """What is wrong in a body, found while FastAPI reads it, which lets no exception of another kind through."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(422, problem.message)
        self.problem = problem


StoredText = Annotated[str, AfterValidator(storable_text)]


def kept_small(payload: dict[str, Any]) -> dict[str, Any]:
    """Free-form JSON that can be stored: 64 KiB, 20 levels, texts that Postgres holds. ValueError otherwise."""
    for where, text in _texts(payload, ""):
        try:
            storable_text(text)
        except ValueError as error:
            raise ValueError(
                Sentence("where-and-error", "%(where)s: %(error)s", where=where or "a key", error=error)
            ) from None
    size = len(json.dumps(payload, ensure_ascii=False).encode())
    if size > MOST_BYTES:
        raise ValueError(
            Sentence(
                "too-many-bytes",
                "it has %(size)s bytes as JSON; at most %(most_bytes)s are kept",
                size=size,
                most_bytes=MOST_BYTES,
            )
        )
    return payload


def _texts(value: object, where: str, level: int = 0) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, keys included, with its place."""
    if level > MOST_LEVELS:
        raise ValueError(
            Sentence("too-many-levels", "it is nested deeper than %(most_levels)s levels", most_levels=MOST_LEVELS)
        )
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield "", key
            yield from _texts(item, f"{where}/{key}", level + 1)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _texts(item, f"{where}/{place}", level + 1)


class ProblemBody(BaseModel):
    """The shape of an error, for the OpenAPI document."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Problem] = []
