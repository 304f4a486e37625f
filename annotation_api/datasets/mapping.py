"""The mapping of columns that a caller sends, and the kinds that no file brings."""

from __future__ import annotations

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.datasets.formats.mapping import Mapping, parsed
from annotation_api.db.snapshots.frozen_rows import COLLECTED
from annotation_api.db.tables import DatasetKind
from annotation_api.http.errors import invalid


def read_mapping(text: str | None, kind: DatasetKind) -> Mapping | None:
    """The mapping in a form; 422 when it cannot give records of this kind."""
    if not text:
        return None
    refuse_collected(kind)
    try:
        return parsed(text, kind.value)
    except ValueError as error:
        raise invalid(
            [
                Problem(
                    pointer="/map",
                    message=Sentence("mapping-wrong", "The mapping %(error)s.", error=error),
                    value=text[:200],
                )
            ]
        ) from None


def refuse_collected(kind: DatasetKind) -> None:
    if kind in COLLECTED:
        message = Sentence(
            "collected-in-projects",
            "%(kind)s are collected in projects and never imported; import rankings, demonstrations or prompts.",
            kind=kind.value.capitalize(),
        )
        raise invalid([Problem(pointer="/kind", message=message, value=kind.value)])
