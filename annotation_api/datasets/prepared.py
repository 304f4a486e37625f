"""Data sets from preparations: kept when somebody asks for it, and undone as long as nothing was made of them."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from alignment.shared.records import sha256_text
from alignment.shared.sentence import Sentence
from alignment.shared.stage_names import ON_DATA, Stage
from alignment.shared.stages import main_data
from alignment.shared.validation import Problem
from annotation_api.datasets.schemas import FromPreparation
from annotation_api.datasets.service import INSERT_BATCH, get_dataset
from annotation_api.db.snapshots.frozen_rows import HOLDS
from annotation_api.db.tables import Artifact, Dataset, DatasetKind, DatasetRow, Job, JobState, Person, Snapshot
from annotation_api.http.errors import ApiError, invalid

PREPARED = "prepared.jsonl"  # of the job's artifact
FORMATS = {Stage.PREPARE: "prepared", Stage.INSTRUCT: "instructed"}
IN_TASKS = "SELECT 1 FROM responses WHERE sampling ->> 'dataset' = :dataset LIMIT 1"


def keep(session: Session, me: Person, home: Path, body: FromPreparation) -> Dataset:
    """Write the new data set, whole. 422 for another job, 409 where it is kept already, 410 where the file is gone."""
    job = _job(session, body.job)
    _take_turn(session, job)
    taken = session.scalar(select(Dataset).where(Dataset.origin["job"].astext == str(job.id)))
    if taken is not None:
        raise ApiError(
            409,
            "kept-already",
            Sentence("kept-already", "This preparation is kept as data set %(key)s.", key=str(taken.id)),
        )
    snapshot = session.get_one(Snapshot, uuid.UUID(job.inputs[main_data(job.stage)]["snapshot"]))
    kind = DatasetKind(job.config["makes"]) if job.stage is Stage.INSTRUCT else snapshot.kind
    what = FORMATS[job.stage]
    source = _source(session, snapshot)
    project = source.project_id if source else snapshot.sources.get("project")  # what is made of it belongs there, too
    lines = list(_lines(session, home, job))
    told = (job.result or {}).get("metrics", {})
    dataset = Dataset(
        name=body.name or f"{source.name if source else snapshot.kind.value}, {what}",
        kind=kind, format=what, project_id=uuid.UUID(str(project)) if project else None,
        sha256=hashlib.sha256("".join(lines).encode()).hexdigest(), accepted=len(lines), duplicates=0, rejected=0,
        origin={"job": str(job.id), "snapshot": str(snapshot.id), "sources": snapshot.sources, **told},
        created_by=me.id,
    )  # fmt: skip
    session.add(dataset)
    session.flush()
    for first in range(0, len(lines), INSERT_BATCH):
        batch = lines[first : first + INSERT_BATCH]
        session.execute(insert(DatasetRow), [_row(dataset, place, line) for place, line in enumerate(batch, first + 1)])
    return dataset


def _take_turn(session: Session, job: Job) -> None:
    """Until this transaction ends nobody else keeps it: a button may be pressed twice."""
    if not session.scalar(select(func.pg_try_advisory_xact_lock(job.id.int >> 65))):
        detail = Sentence("keeping", "This preparation is just being kept. Look again in a moment.")
        raise ApiError(409, "keeping", detail, headers={"Retry-After": "1"})


def _job(session: Session, key: uuid.UUID) -> Job:
    job = session.get(Job, key)
    if job is None or job.stage not in ON_DATA:
        raise invalid(
            [
                Problem(
                    pointer="/job",
                    message=Sentence("no-such-data-job", "There is no such job of work on data."),
                    value=str(key),
                )
            ]
        )
    if job.state is not JobState.SUCCEEDED:
        message = Sentence(
            "job-keeps-nothing",
            "The job is %(state)s; it has nothing to keep until it has succeeded.",
            state=job.state.value,
        )
        raise invalid([Problem(pointer="/job", message=message, value=str(key))])
    return job


def _source(session: Session, snapshot: Snapshot) -> Dataset | None:
    keys = snapshot.sources.get("datasets", ())
    return session.get(Dataset, uuid.UUID(keys[0])) if keys else None


def _lines(session: Session, home: Path, job: Job) -> Iterator[str]:
    """The canonical lines, as they were committed."""
    artifact = session.get(Artifact, (job.id, PREPARED))
    path = home / "artifacts" / str(job.id) / str(job.epoch) / PREPARED
    if artifact is None or artifact.removed_at is not None or not path.is_file():
        raise ApiError(
            410,
            "artifact-gone",
            Sentence("preparation-gone", "What this preparation left is no longer there. Prepare the data again."),
        )
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != artifact.sha256:
            raise ApiError(
                410,
                "artifact-damaged",
                Sentence("preparation-changed", "What this preparation left was changed. Prepare the data again."),
            )
    with path.open(encoding="utf-8", newline="\n") as text:
        yield from text


def _row(dataset: Dataset, place: int, line: str) -> dict[str, Any]:
    text = line.rstrip("\n")
    record = HOLDS[dataset.kind].from_line(text)
    stored = record.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return {"dataset_id": dataset.id, "row": place, "part": 0, "record_hash": sha256_text(text), "record": stored}


def undo(session: Session, key: uuid.UUID) -> None:
    """Remove a prepared data set. 409 when it was imported, or when something was made of it."""
    dataset = get_dataset(session, key)
    if dataset.origin is None:
        raise ApiError(
            409,
            "not-prepared",
            Sentence("not-prepared", "This data set was imported; only what a preparation made can be undone."),
        )
    uses = select(Snapshot.id).where(Snapshot.sources.contains({"datasets": [str(key)]}))
    snapshots = [str(found) for found in itertools.islice(session.scalars(uses), 3)]
    if snapshots:
        raise ApiError(
            409,
            "in-use",
            Sentence(
                "snapshots-made-of",
                "Snapshots were made of this data set: %(snapshots)s.",
                snapshots=", ".join(snapshots),
            ),
        )
    if session.execute(sql(IN_TASKS), {"dataset": str(key)}).first():
        raise ApiError(409, "in-use", Sentence("tasks-use-it", "Tasks of a project were made from this data set."))
    session.execute(delete(DatasetRow).where(DatasetRow.dataset_id == key))
    session.delete(dataset)
