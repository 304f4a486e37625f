"""What a job's inputs name, asked for before they are looked at: one statement for each kind of thing, however many.

A session knows a row again only while somebody holds it. So the rows are given back, to be held as long as the inputs
are checked: who looks at one of them by its id (`session.get`) then asks nothing of the database.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import ARRAY, Text, Uuid, any_, bindparam, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import Alias, Dataset, Job, ModelVersion, Project, Snapshot
from annotation_api.jobs.schemas import DataRef, ModelRef

KINDS: dict[str, Any] = {  # by the field of a reference
    "model": ModelVersion,
    "job": Job,
    "snapshot": Snapshot,
    "dataset": Dataset,
    "project": Project,
}
# Built once: to build a statement takes longer than to send it.
_OF_KEYS = {kind: select(kind).where(kind.id == any_(bindparam("keys", type_=ARRAY(Uuid)))) for kind in KINDS.values()}
_OF_ALIASES = select(Alias).where(Alias.name == any_(bindparam("names", type_=ARRAY(Text))))


def named_rows(session: Session, inputs: Iterable[Any]) -> list[Any]:
    """The rows that there are, of those that the person may see."""
    references = list(_references(inputs))
    keys = {kind: {ref[field] for ref in references if field in ref} for field, kind in KINDS.items()}
    found: list[Any] = []
    if names := [ref["alias"] for ref in references if "alias" in ref]:
        found += session.scalars(_OF_ALIASES, {"names": names})
        keys[ModelVersion] |= {alias.model_id for alias in found}
    for kind, wanted in keys.items():
        found += session.scalars(_OF_KEYS[kind], {"keys": list(wanted)}) if wanted else ()
    return found


def _references(inputs: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Field and value of each, however deep."""
    for given in inputs:
        if isinstance(given, list):
            yield from _references(given)
        elif isinstance(given, uuid.UUID):  # an input that is a project has no other field
            yield {"project": given}
        elif isinstance(given, ModelRef | DataRef):
            yield {name: value for name, value in given if value is not None}
