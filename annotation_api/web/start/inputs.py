"""What a job's form offers for each input: models, aliases and jobs that will make one; snapshots, data sets, projects.

An option's value is `kind:id`, as the command line writes it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.records import Prompt, Record
from alignment.shared.stages import DataInput, Input, ModelInput, inputs_of
from annotation_api.db.jobs.machine import ENDED
from annotation_api.db.snapshots.freeze import PROJECT_SOURCES
from annotation_api.db.snapshots.frozen_rows import FROZEN_AS, HOLDS
from annotation_api.db.tables import MAKES, Alias, Dataset, Job, ModelKind, ModelVersion, Project, Snapshot
from annotation_api.jobs.validation.validator import SCORERS, WRITERS
from annotation_api.web.queries import newest, origins
from annotation_api.web.runs import titles

MOST = 100  # of each kind
ANY = (Prompt, Record)  # what every kind of data can be: the prompts in it, or as it is


@dataclass(frozen=True)
class Offered:
    """One thing that an input can be."""

    value: str
    label: str
    kind: str  # model, alias, job, snapshot, dataset, project
    about: str = ""  # kind of its rows or of the model; of an alias, what it stands for
    rows: int | None = None
    own: str = ""  # name of a model that is called as its job


def offered(session: Session, stage: Stage) -> dict[str, list[Offered]]:
    """The options of each input of the stage, by the input's name."""
    return {name: list(options(session, asked)) for name, asked in inputs_of(stage).items()}


def options(session: Session, asked: Input) -> Iterator[Offered]:
    match asked.kind:
        case ModelInput(scores):
            yield from _models(session, SCORERS if scores else WRITERS)
        case DataInput(of):
            yield from _data(session, of)
        case _:
            yield from (Offered(str(row.id), row.name, "project") for row in newest(session, Project))


def _models(session: Session, kinds: frozenset[ModelKind]) -> Iterator[Offered]:
    wanted = (ModelVersion.kind.in_(kinds), ModelVersion.removed_at.is_(None))
    named = select(Alias.name, ModelVersion.id).join(ModelVersion, ModelVersion.id == Alias.model_id).where(*wanted)
    pointed = session.execute(named.order_by(Alias.name)).all()
    models = select(ModelVersion).where(*wanted).order_by(ModelVersion.created_at.desc(), ModelVersion.id).limit(MOST)
    found = session.scalars(models).all()
    called = titles.of_models(session, [model for _, model in pointed] + [row.id for row in found])
    yield from (Offered(f"alias:{alias}", alias, "alias", called[model]) for alias, model in pointed)
    for row in found:
        own = row.name if called[row.id] != row.name else ""
        yield Offered(f"model:{row.id}", called[row.id], "model", row.kind.value, own=own)
    stages = [stage for stage, kind in MAKES.items() if kind in kinds]
    makers = select(Job).where(Job.stage.in_(stages), Job.state.not_in(ENDED)).order_by(Job.created_at.desc())
    for job in session.scalars(makers.limit(MOST)):
        yield Offered(f"job:{job.id}", job.name or str(job.id)[:8], "job", job.stage.value)


def _data(session: Session, record: type[Record]) -> Iterator[Offered]:
    snapshots = [row for row in newest(session, Snapshot) if HOLDS[row.kind] is record or record in ANY]
    made_from = origins(session, snapshots)
    for snapshot in snapshots:
        label = snapshot.name or f"{made_from[snapshot.id]['name']} {snapshot.created_at:%Y-%m-%d %H:%M}"
        yield Offered(f"snapshot:{snapshot.id}", label, "snapshot", snapshot.kind.value, snapshot.rows)
    for row in newest(session, Dataset):
        if HOLDS[row.kind] is record or record in ANY:
            yield Offered(f"dataset:{row.id}", row.name, "dataset", row.kind.value, row.accepted)
    if FROZEN_AS.get(record) in PROJECT_SOURCES:
        yield from (Offered(f"project:{row.id}", row.name, "project") for row in newest(session, Project))


def reference(value: str) -> dict[str, str] | str:
    """`kind:id` as a body names it; what has no kind is a project's id."""
    kind, colon, key = value.partition(":")
    return {kind: key} if colon else value


def value_of(given: Any) -> str:
    """The option that a job's own input stands for."""
    if isinstance(given, dict):
        return next((f"{kind}:{key}" for kind, key in given.items() if key), "")
    return str(given) if isinstance(given, str | uuid.UUID) else ""


def known(found: Sequence[Offered], value: str) -> bool:
    return any(option.value == value for option in found)
