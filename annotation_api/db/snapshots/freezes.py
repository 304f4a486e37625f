"""Freezes too large for a request: asked for by the API, done by a process of the dispatcher's, told as they go.

One that is dropped (its process died) is taken up anew once its lease ran out: nothing of it was stored.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.sentence import packed
from annotation_api.db.kinds import Adjudicated, PausedPeople
from annotation_api.db.leased_rows import LeasedRows
from annotation_api.db.snapshots import freeze
from annotation_api.db.snapshots.frozen_rows import FreezeError
from annotation_api.db.snapshots.votes import VoteChoice
from annotation_api.db.sql import one_row
from annotation_api.db.tables import Dataset, DatasetKind, Freeze, FreezeState, Snapshot

LARGE = 10_000  # rows from which a freeze is not awaited
LEASE = timedelta(seconds=120)  # the sorting before the first row takes long
WAITING = LeasedRows(Freeze, FreezeState, LEASE)
REPORT_SECONDS = 1.0
NONE: Mapping[str, Any] = {}

# Of a project's judgements no more are counted than tell a large freeze from a small one; a verdict is a row a rule.
JUDGED = """
SELECT coalesce(sum(size), 0)::bigint AS rows FROM (
    SELECT CASE kind WHEN 'rules' THEN (SELECT count(*) FROM jsonb_object_keys(payload->'verdicts')) ELSE 1 END AS size
    FROM submissions s WHERE project_id = %(project)s AND kind = ANY(%(kinds)s) {demonstration}
        AND NOT EXISTS (SELECT FROM submissions later WHERE later.supersedes = s.id)
    LIMIT %(most)s
) AS judged
"""
DEMONSTRATION = "AND payload ? 'demonstration'"
PROMPTS = "SELECT count(*) AS rows FROM prompts WHERE project_id = %(project)s"


def source_of(dataset: uuid.UUID | None, project: uuid.UUID | None, choice: VoteChoice) -> dict[str, str]:
    """What is frozen, as it is stored."""
    if dataset is not None:
        return {"dataset": str(dataset)}
    return {"project": str(project), "adjudicated": choice.adjudicated.value, "paused": choice.paused.value}


def is_large(session: Session, kind: DatasetKind, source: dict[str, str]) -> bool:
    return _size(session, kind, source, LARGE) >= LARGE


def _size(session: Session, kind: DatasetKind, source: dict[str, str], most: int) -> int:
    """The rows that the freeze will have, up to `most`; 0 for what will be refused."""
    if "dataset" in source:
        dataset = session.get(Dataset, uuid.UUID(source["dataset"]))
        return min(dataset.accepted, most) if dataset else 0
    values: dict[str, Any] = {"project": uuid.UUID(source["project"])}
    if kind is DatasetKind.PROMPTS:
        return int(one_row(session, PROMPTS, **values).rows)
    if kind not in freeze.KINDS:
        return 0
    statement = JUDGED.format(demonstration=DEMONSTRATION if kind is DatasetKind.DEMONSTRATIONS else "")
    return int(one_row(session, statement, **values, kinds=freeze.KINDS[kind], most=most).rows)


def ask(
    session: Session, kind: DatasetKind, source: dict[str, str], by: uuid.UUID, labels: Mapping[str, Any] = NONE
) -> Freeze:
    """Put it on the list; one that waits or runs for the same is that one."""
    same = select(Freeze).where(
        Freeze.kind == kind, Freeze.source == source, Freeze.state.in_((FreezeState.QUEUED, FreezeState.RUNNING))
    )
    if (standing := session.scalars(same.limit(1)).first()) is not None:
        standing.labels = standing.labels | dict(labels)
        return standing
    row = Freeze(
        kind=kind, source=source, total=_size(session, kind, source, 2**31 - 1), created_by=by, labels=dict(labels)
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def work_off(sessions: sessionmaker[Session]) -> int:
    """Do all that wait, one after another; how many there were."""
    done = 0
    for row in WAITING.each(sessions):
        _do(sessions, row)
        done += 1
    return done


def _do(sessions: sessionmaker[Session], row: Freeze) -> None:
    """The snapshot and the word that it is there are stored together."""
    report = _reporter(sessions, row.id)
    report(0)  # one that is taken up again begins anew
    try:
        with sessions.begin() as session:
            snapshot = _frozen(session, row, report)
            for name, value in session.get_one(Freeze, row.id).labels.items():
                if value is not None:
                    setattr(snapshot, name, value)
            _end(session, row.id, state=FreezeState.SUCCEEDED, snapshot_id=snapshot.id, done=snapshot.rows)
    except FreezeError as reason:
        with sessions.begin() as session:
            _end(session, row.id, state=FreezeState.FAILED, error=packed(reason.said))


def _frozen(session: Session, row: Freeze, report: freeze.Report) -> Snapshot:
    if "dataset" in row.source:
        return freeze.freeze_dataset(session, uuid.UUID(row.source["dataset"]), row.kind, row.created_by, report)
    choice = VoteChoice(Adjudicated(row.source["adjudicated"]), PausedPeople(row.source["paused"]))
    return freeze.freeze_project(session, uuid.UUID(row.source["project"]), row.created_by, row.kind, choice, report)


def _reporter(sessions: sessionmaker[Session], freeze_id: uuid.UUID) -> freeze.Report:
    """Says now and then how far it is, outside the freeze's own transaction, and keeps the lease."""
    last = -math.inf

    def report(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            with sessions.begin() as session:
                held = update(Freeze).where(Freeze.id == freeze_id, Freeze.state == FreezeState.RUNNING)
                session.execute(held.values(done=done, lease_until=func.clock_timestamp() + LEASE))

    return report


def _end(session: Session, freeze_id: uuid.UUID, **values: Any) -> None:
    ended = {"lease_until": None, "finished_at": func.clock_timestamp()}
    session.execute(update(Freeze).where(Freeze.id == freeze_id).values(**values, **ended))
