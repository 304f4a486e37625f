"""Freezes what was collected: live rows become the lines of a snapshot, which training reads.

A line is a canonical record of `alignment.shared.records` that names the row it came from. Order and
content follow from the sources alone, so freezing twice gives the same bytes, and when a source
gives what it gave before, the snapshot of that time is returned. Where the source shows that it has not changed since
(`_seen`), it is not even read.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence, either
from annotation_api.db.locks import freeze_alone, let_erasures_wait
from annotation_api.db.snapshots import frozen_rows, judged_rows
from annotation_api.db.snapshots.frozen_rows import COLLECTED, HOLDS, FreezeError, Frozen, kinds_of
from annotation_api.db.snapshots.votes import USUAL, VoteChoice
from annotation_api.db.sql import one_row
from annotation_api.db.tables import Dataset, DatasetKind, Project, Snapshot, SnapshotRow, Submission

BATCH = 1000  # lines written at once, or fewer of together
BATCH_SIZE = 2**23  # characters

# What can be frozen as what: as another name of the same records, and everything as its prompts.
DATASET_SOURCES: dict[DatasetKind, frozenset[DatasetKind]] = {
    kind: kinds_of(HOLDS[kind]) for kind in DatasetKind if kind not in COLLECTED
} | {DatasetKind.PROMPTS: frozenset(DatasetKind) - COLLECTED}

# What a project can be frozen as, and what to do first when it has none of it.
PROJECT_SOURCES: dict[DatasetKind, tuple[Callable[[Session, uuid.UUID, VoteChoice], Iterator[Frozen]], str]] = {
    DatasetKind.RANKINGS: (judged_rows.rankings, "judgements to freeze: let annotators rank its tasks first"),
    DatasetKind.ANSWERS: (judged_rows.answers, "answers to freeze: let annotators answer its questions first"),
    DatasetKind.VERDICTS: (judged_rows.verdicts, "verdicts to freeze: let annotators judge by its rules first"),
    DatasetKind.DEMONSTRATIONS: (
        judged_rows.demonstrations,
        "better answers to freeze: annotators write them in tasks",
    ),
    DatasetKind.PROMPTS: (frozen_rows.prompts_of_project, "prompts to freeze: add tasks to it first"),
}

# Judgements only come: where there are as many as before and the newest is the same, they are the same. Numbers are
# given before a transaction is seen, so the newest alone would not tell of an older one that was seen later. Decisions
# only come, too; who is paused and what is gold goes to and fro.
STATE = """
SELECT count(*) AS judgements, coalesce(max(seq), 0) AS newest, (
    SELECT count(*) FROM decisions d JOIN tasks t ON t.id = d.task_id WHERE t.project_id = %(project)s
) AS decisions, (
    SELECT md5(string_agg(person_id::text, ' ' ORDER BY person_id)) FROM standings
    WHERE project_id = %(project)s AND paused_at IS NOT NULL
) AS out, (
    SELECT md5(string_agg(task_id::text, ' ' ORDER BY task_id)) FROM gold_items WHERE project_id = %(project)s
) AS gold
FROM submissions WHERE project_id = %(project)s AND kind = ANY(%(kinds)s)
"""
KINDS = {
    DatasetKind.RANKINGS: ["ranking"],
    DatasetKind.ANSWERS: ["questions"],
    DatasetKind.VERDICTS: ["rules"],
    DatasetKind.DEMONSTRATIONS: ["ranking", "questions", "rules"],
}

Report = Callable[[int], None]  # told how many lines are written


def _tell_nobody(_done: int) -> None:
    """For a freeze that somebody waits for."""


def freeze_dataset(
    session: Session,
    dataset_id: uuid.UUID,
    kind: DatasetKind,
    created_by: uuid.UUID,
    report: Report = _tell_nobody,
) -> Snapshot:
    """Freeze an imported file as `kind`; as prompts, each prompt comes once.

    Raises FreezeError when there is no such data set, when it is empty, or when it is of another kind.
    """
    dataset = check_dataset(session, dataset_id, kind)
    if found := dataset_snapshot(session, dataset_id, kind):  # no row is read that could be erased meanwhile
        return found
    let_erasures_wait(session)
    freeze_alone(session, dataset_id)
    rows = frozen_rows.of_dataset(session, dataset)
    if kind is DatasetKind.PROMPTS:
        rows = frozen_rows.prompts_once(rows)
    empty = f"Data set {dataset.name} has no rows to freeze."
    return _freeze(session, kind, {"datasets": [str(dataset_id)]}, created_by, rows, empty, report)


def check_dataset(session: Session, dataset_id: uuid.UUID, kind: DatasetKind) -> Dataset:
    """The data set, if there is one that can be frozen as `kind`; else FreezeError."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise FreezeError(Sentence("not-found", "There is no %(what)s %(key)s.", what="data set", key=str(dataset_id)))
    if kind in COLLECTED:
        raise FreezeError(
            Sentence(
                "freeze-collected",
                "A data set holds no %(kind)s: they are collected in a project; name one.",
                kind=kind.value,
            )
        )
    if dataset.kind not in DATASET_SOURCES[kind]:
        fit = either(sorted(source.value for source in DATASET_SOURCES[kind]))
        raise FreezeError(
            Sentence(
                "freeze-other-kind",
                "Data set %(name)s holds %(kind)s; a data set of %(fit)s is needed here.",
                name=dataset.name,
                kind=dataset.kind.value,
                fit=fit,
            )
        )
    return dataset


def dataset_snapshot(session: Session, dataset_id: uuid.UUID, kind: DatasetKind) -> Snapshot | None:
    """The snapshot of a data set, which never changes."""
    return _frozen_before(session, kind, {"datasets": [str(dataset_id)]})


def freeze_project(
    session: Session,
    project_id: uuid.UUID,
    created_by: uuid.UUID,
    kind: DatasetKind = DatasetKind.RANKINGS,
    choice: VoteChoice = USUAL,
    report: Report = _tell_nobody,
) -> Snapshot:
    """Freeze a project's current judgements as `kind`, those that `choice` takes, or its prompts.

    Raises FreezeError when there is no such project, when nothing of the kind was collected in it, or
    when `kind` cannot come from a project.
    """
    project = check_project(session, project_id, kind)
    let_erasures_wait(session)
    freeze_alone(session, project_id)
    source, first = PROJECT_SOURCES[kind]
    empty = f"Project {project.name} has no {first}."
    seen = _seen(session, project_id, kind, choice)
    if found := _of_state(session, project_id, kind, seen):
        return found
    origin = {"project": str(project_id)}
    if kind is not DatasetKind.PROMPTS:
        origin |= choice.told(session, project_id)
    snapshot = _freeze(session, kind, origin, created_by, source(session, project_id, choice), empty, report)
    snapshot.seen = seen
    return snapshot


def check_project(session: Session, project_id: uuid.UUID, kind: DatasetKind) -> Project:
    """The project, if there is one and projects can be frozen as `kind`; else FreezeError."""
    project = session.get(Project, project_id)
    if project is None:
        raise FreezeError(Sentence("not-found", "There is no %(what)s %(key)s.", what="project", key=str(project_id)))
    if kind not in PROJECT_SOURCES:
        known = ", ".join(known.value for known in PROJECT_SOURCES)
        raise FreezeError(
            Sentence(
                "freeze-no-project",
                "A project is frozen as %(known)s; %(kind)s come from a data set.",
                known=known,
                kind=kind.value,
            )
        )
    return project


def unchanged(session: Session, project_id: uuid.UUID, kind: DatasetKind, choice: VoteChoice) -> Snapshot | None:
    """The snapshot of the project as it stands, if there is one and it can be told without reading the project."""
    return _of_state(session, project_id, kind, _seen(session, project_id, kind, choice))


def _of_state(
    session: Session, project_id: uuid.UUID, kind: DatasetKind, seen: dict[str, Any] | None
) -> Snapshot | None:
    if seen is None:
        return None
    query = select(Snapshot).where(Snapshot.kind == kind, Snapshot.sources.contains({"project": str(project_id)}))
    return session.scalars(query.where(Snapshot.seen == seen).order_by(Snapshot.created_at).limit(1)).first()


def _seen(session: Session, project_id: uuid.UUID, kind: DatasetKind, choice: VoteChoice) -> dict[str, Any] | None:
    """What tells whether a project's judgements changed, and which are taken; None for its prompts, which are read
    anew."""
    if kind not in KINDS:
        return None
    state: dict[str, Any] = one_row(session, STATE, project=project_id, kinds=KINDS[kind])._asdict()
    return state | {"adjudicated": choice.adjudicated.value, "paused": choice.paused.value}


def _freeze(
    session: Session,
    kind: DatasetKind,
    origin: dict[str, Any],
    by: uuid.UUID,
    rows: Iterable[Frozen],
    empty: str,
    report: Report,
) -> Snapshot:
    """Store the rows in one pass; undo it when they turn out to be none, or what was frozen before."""
    with session.begin_nested() as attempt:
        snapshot = Snapshot(id=uuid.uuid4(), kind=kind, sources=origin, sha256="", rows=0, created_by=by)
        session.add(snapshot)
        session.flush()
        snapshot.sha256, snapshot.rows = _store_rows(session, snapshot.id, rows, report)
        if not snapshot.rows:
            raise FreezeError(empty)
        session.flush()
        if found := _frozen_before(session, kind, origin, snapshot):
            attempt.rollback()
            return found
        last = _last_submission(session, snapshot.id)
        snapshot.sources = origin | ({} if last is None else {"last_submission": last})
    return snapshot


def _store_rows(session: Session, snapshot_id: uuid.UUID, rows: Iterable[Frozen], report: Report) -> tuple[str, int]:
    """The lines, a batch in memory at a time; returns the hash of the JSONL and the number of lines."""
    digest = hashlib.sha256()
    position, size = 0, 0
    batch: list[dict[str, Any]] = []
    for position, row in enumerate(rows, start=1):
        line = row.record.canonical()
        digest.update(line.encode() + b"\n")
        batch.append({"snapshot_id": snapshot_id, "position": position - 1, "line": line} | row.origin)
        size += len(line)
        if len(batch) >= BATCH or size >= BATCH_SIZE:
            session.execute(insert(SnapshotRow), batch)
            batch, size = [], 0
            report(position)
    if batch:
        session.execute(insert(SnapshotRow), batch)
    return digest.hexdigest(), position


_OF_SOURCES = (  # built once: to build a statement takes longer than to send it
    select(Snapshot)
    .where(Snapshot.kind == bindparam("sought"), Snapshot.sources.contains(bindparam("origin")))
    .where(Snapshot.erased_at.is_(None))
    .order_by(Snapshot.created_at, Snapshot.id)
    .limit(1)
)


def _frozen_before(
    session: Session, kind: DatasetKind, origin: dict[str, Any], besides: Snapshot | None = None
) -> Snapshot | None:
    """The first snapshot of these sources; with `besides`, another one of the same content."""
    query = _OF_SOURCES
    if besides is not None:
        query = query.where(Snapshot.id != besides.id, Snapshot.sha256 == besides.sha256)
    return session.scalars(query, {"sought": kind, "origin": origin}).first()


def _last_submission(session: Session, snapshot_id: uuid.UUID) -> int | None:
    """The number of the newest judgement in the snapshot."""
    newest = select(func.max(Submission.seq)).join(SnapshotRow, SnapshotRow.submission_id == Submission.id)
    return session.scalar(newest.where(SnapshotRow.snapshot_id == snapshot_id))
