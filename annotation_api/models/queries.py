"""What is asked of the tables about models, their parents and the data behind them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from annotation_api.db.tables import Alias, ModelKind, ModelParent, ModelVersion, SnapshotRow


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


def aliases(session: Session) -> Sequence[Alias]:
    return session.scalars(select(Alias).order_by(Alias.name)).all()


def point_alias(session: Session, name: str, model: uuid.UUID) -> None:
    """Make the alias or move it."""
    statement = insert(Alias).values(name=name, model_id=model)
    session.execute(
        statement.on_conflict_do_update(index_elements=[Alias.name], set_={"model_id": model, "updated_at": func.now()})
    )
