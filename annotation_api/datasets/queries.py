"""What is asked of the tables about data sets and snapshots."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session, sessionmaker

from annotation_api.db.tables import Dataset, DatasetKind, DatasetRow, Project, Snapshot, SnapshotRow

EXPORT_BATCH = 1000


def datasets(kind: DatasetKind | None, project: uuid.UUID | None) -> Select[Dataset]:
    query = select(Dataset)
    if kind is not None:
        query = query.where(Dataset.kind == kind)
    if project is not None:
        query = query.where(Dataset.project_id == project)
    return query


def dataset_rows(session: Session, dataset: uuid.UUID, after: tuple[int, int], limit: int) -> Sequence[DatasetRow]:
    """Rows after (row, part) in the order of the source."""
    query = select(DatasetRow).where(DatasetRow.dataset_id == dataset, tuple_(DatasetRow.row, DatasetRow.part) > after)
    return session.scalars(query.order_by(DatasetRow.row, DatasetRow.part).limit(limit)).all()


def project_named(session: Session, name: str) -> Project | None:
    """A project by its id or its name."""
    try:
        return session.get(Project, uuid.UUID(name))
    except ValueError:
        return session.scalar(select(Project).where(Project.name == name))


def snapshots() -> Select[Snapshot]:
    return select(Snapshot)


def snapshot_lines(sessions: sessionmaker[Session], snapshot: uuid.UUID) -> Iterator[str]:
    """The canonical lines in order. A batch is read at a time, each on its own short connection."""
    last = -1
    while rows := _lines_after(sessions, snapshot, last):
        yield from (line for _, line in rows)
        last = rows[-1][0]


def _lines_after(sessions: sessionmaker[Session], snapshot: uuid.UUID, last: int) -> list[tuple[int, str]]:
    query = select(SnapshotRow.position, SnapshotRow.line).where(
        SnapshotRow.snapshot_id == snapshot, SnapshotRow.position > last
    )
    with sessions() as session:
        rows = session.execute(query.order_by(SnapshotRow.position).limit(EXPORT_BATCH))
        return [(position, line) for position, line in rows]
