"""What is asked of the tables about models, their parents and the data behind them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Sequence
from typing import TypeVar

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from annotation_api.db import sql
from annotation_api.db.tables import Alias, AliasMove, Job, ModelKind, ModelParent, ModelVersion, Snapshot, SnapshotRow

A = TypeVar("A", Alias, AliasMove)


def models(kind: ModelKind | None) -> Select[ModelVersion]:
    query = select(ModelVersion)
    return query if kind is None else query.where(ModelVersion.kind == kind)


def parents(session: Session, model: uuid.UUID) -> Sequence[ModelParent]:
    return session.scalars(select(ModelParent).where(ModelParent.model_id == model)).all()


def submission_ids(session: Session, snapshot: uuid.UUID, limit: int) -> tuple[int, list[uuid.UUID]]:
    """How many annotation rows a snapshot holds, and the ids of the first `limit`."""
    mine = (SnapshotRow.snapshot_id == snapshot, SnapshotRow.submission_id.is_not(None))
    count = session.scalar(select(func.count()).select_from(SnapshotRow).where(*mine)) or 0
    query = select(SnapshotRow.submission_id).where(*mine).order_by(SnapshotRow.position).limit(limit)
    return count, [found for found in session.scalars(query) if found is not None]


def dataset_counts(session: Session, snapshot: uuid.UUID) -> dict[uuid.UUID, int]:
    """The data sets behind a snapshot and how many of its rows each gave."""
    query = select(SnapshotRow.dataset_id, func.count()).where(
        SnapshotRow.snapshot_id == snapshot, SnapshotRow.dataset_id.is_not(None)
    )
    return {key: count for key, count in session.execute(query.group_by(SnapshotRow.dataset_id)) if key}


def snapshots_of_dataset(session: Session, dataset: uuid.UUID) -> Sequence[Snapshot]:
    """Those that were frozen from it, the oldest first."""
    query = select(Snapshot).where(Snapshot.sources.contains({"datasets": [str(dataset)]}))
    return session.scalars(query.order_by(Snapshot.created_at, Snapshot.id)).all()


_NAMING = """
SELECT DISTINCT j.id FROM jobs j, jsonb_path_query(j.inputs, 'lax $.*.*') AS named
WHERE named #>> '{}' = ANY(%(things)s)
"""


def jobs_that_name(session: Session, things: Collection[uuid.UUID]) -> Sequence[Job]:
    """Jobs whose inputs name one of the snapshots, models or jobs, the oldest first."""
    found = sql.rows(session, _NAMING, things=[str(key) for key in things])
    query = select(Job).where(Job.id.in_([row.id for row in found]))
    return session.scalars(query.order_by(Job.created_at, Job.id)).all()


def models_from(session: Session, things: Collection[uuid.UUID]) -> Sequence[ModelVersion]:
    """Models that the jobs made, that were trained on the snapshots, or whose parents are the models."""
    children = select(ModelParent.model_id).where(ModelParent.parent_id.in_(things))
    origins = (ModelVersion.job_id.in_(things), ModelVersion.snapshot_id.in_(things), ModelVersion.id.in_(children))
    query = select(ModelVersion).where(or_(*origins))
    return session.scalars(query.order_by(ModelVersion.created_at, ModelVersion.id)).all()


def links_to(session: Session, models: Collection[uuid.UUID]) -> Sequence[ModelParent]:
    return session.scalars(select(ModelParent).where(ModelParent.parent_id.in_(models))).all()


def aliases(session: Session) -> Sequence[Alias]:
    return _of_seen(session, session.scalars(select(Alias).order_by(Alias.name)).all())


def alias_moves(session: Session, names: Collection[str]) -> Sequence[AliasMove]:
    """The newest first."""
    query = select(AliasMove).where(AliasMove.name.in_(names))
    return _of_seen(session, session.scalars(query.order_by(AliasMove.created_at.desc(), AliasMove.id)).all())


def _of_seen(session: Session, rows: Sequence[A]) -> list[A]:
    """Without what says something of models that the caller may not see."""
    keys = {row.model_id for row in rows}
    seen = set(session.scalars(select(ModelVersion.id).where(ModelVersion.id.in_(keys))))
    return [row for row in rows if row.model_id is None or row.model_id in seen]


def drop_alias(session: Session, name: str) -> bool:
    """Whether there was one."""
    return session.scalar(delete(Alias).where(Alias.name == name).returning(Alias.name)) is not None


def hold_path(session: Session, path: str) -> None:
    """Until this transaction ends nobody else registers what lies there."""
    _hold(session, path)


def hold_alias(session: Session, name: str) -> None:
    """Until this transaction ends nobody else moves the alias, so that what it stands for is its newest move."""
    _hold(session, f"alias {name}")


def _hold(session: Session, what: str) -> None:
    key = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], signed=True)
    session.execute(select(func.pg_advisory_xact_lock(key)))


def base_at(session: Session, path: str, sha256: str | None) -> ModelVersion | None:
    """The base model that was registered from there first, as it is now."""
    same = (ModelVersion.path == path, ModelVersion.sha256.is_not_distinct_from(sha256))
    query = select(ModelVersion).where(ModelVersion.kind == ModelKind.BASE, ModelVersion.removed_at.is_(None), *same)
    return session.scalars(query.order_by(ModelVersion.created_at, ModelVersion.id).limit(1)).first()


def point_alias(session: Session, name: str, model: uuid.UUID) -> None:
    """Make the alias or move it."""
    statement = insert(Alias).values(name=name, model_id=model)
    session.execute(
        statement.on_conflict_do_update(index_elements=[Alias.name], set_={"model_id": model, "updated_at": func.now()})
    )
