"""Names, notes and tags: by which people find jobs, pipelines, models and data again. All features share them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, Query
from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator
from sqlalchemy import Select

from alignment.shared.sentence import Sentence
from annotation_api.http.schemas import Body, StoredText

MOST_TAGS = 20
MOST_NAME = 200  # characters


# Not printable for Python, but part of how names are written: joiners in Persian and Hindi, wide and fixed blanks.
_WRITTEN = str.maketrans({"\u200c": None, "\u200d": None, "\u3000": " ", "\u00a0": " "})


def one_line(text: str) -> str:
    """Raise ValueError for a name that is not one line that can be seen."""
    seen = text.translate(_WRITTEN)
    if not seen.isprintable() or (text and not seen.strip()):
        raise ValueError(Sentence("name-one-line", "a name stands on one line, without characters that cannot be seen"))
    return text


def on_one_line(name: str) -> str:
    """The name of a file as a name here: files are called anything, and what cannot be seen is left out."""
    seen = "".join(sign if sign.isprintable() else " " for sign in name)
    return " ".join(seen.split())[:MOST_NAME] or "upload"


Name = Annotated[
    StoredText,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_NAME),
    AfterValidator(one_line),
]
Notes = Annotated[StoredText, StringConstraints(max_length=10_000)]
TAG = Sentence("tags-fit", "Letters, digits, dots, colons, dashes and underscores, 50 at most; up to 20.")
TAG_PATTERN = r"^[\w][\w.:-]{0,49}$"


def _is_tag(text: str) -> str:
    if not re.fullmatch(TAG_PATTERN, text):
        raise ValueError(TAG)
    return text


Tag = Annotated[str, AfterValidator(_is_tag), Field(json_schema_extra={"pattern": TAG_PATTERN})]
Tags = Annotated[list[Tag], Field(max_length=MOST_TAGS), AfterValidator(lambda tags: sorted(set(tags)))]


class NewLabels(Body):
    """What people call a thing that they make."""

    name: Name | None = Field(default=None, description="Shown in lists, and taken by the command line for the id.")
    notes: Notes = Field(default="", description="What is worth knowing about it.")
    tags: Tags = Field(default=[], description=TAG)


class Labels(Body):
    """What people call it from now on; what is left out stays."""

    name: Name | None = Field(default=None, description="Shown in lists, and taken by the command line for the id.")
    notes: Notes | None = Field(default=None, description="What is worth knowing about it.")
    tags: Tags | None = Field(default=None, description=TAG)

    @field_validator("name", "notes", "tags")
    @classmethod
    def _null_means_nothing(cls, value: Any, field: ValidationInfo) -> Any:
        if value is None:
            words = "%(nulls)s: null means nothing here; leave the field out to keep what is set"
            raise ValueError(Sentence("null-means-nothing", words, nulls=field.field_name))
        return value


class Labelled(Protocol):
    """A row that people may name."""

    name: Any
    notes: Any
    tags: Any


R = TypeVar("R", bound=Labelled)


def label(row: R, labels: Labels | NewLabels) -> R:
    """The row with the labels that are given."""
    for field in labels.model_fields_set & set(Labels.model_fields):
        value = getattr(labels, field)
        if value is not None and getattr(row, field) != value:
            setattr(row, field, value)
    return row


class LabelQuery:
    """The labels by which a list is searched."""

    async def __call__(
        self,
        name: Annotated[str | None, Query(max_length=200, description="Only those of this very name.")] = None,
        tag: Annotated[str | None, Query(max_length=50, description="Only those with this tag.")] = None,
    ) -> tuple[str | None, str | None]:
        return name, tag


By = Annotated[tuple[str | None, str | None], Depends(LabelQuery())]


def labelled(query: Select[Any], table: type[Labelled], by: tuple[str | None, str | None]) -> Select[Any]:
    """Those of the rows with the name and the tag, where they are given."""
    name, tag = by
    query = query if name is None else query.where(table.name == name)
    return query if tag is None else query.where(table.tags.contains([tag]))


def searched(query: Select[Any], table: type[Labelled], name: str, tag: str) -> Select[Any]:
    """As pages search: those with this part of the name and this tag, where they are given."""
    query = query.where(table.name.icontains(name, autoescape=True)) if name else query
    return query.where(table.tags.contains([tag])) if tag else query
