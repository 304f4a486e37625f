"""What is asked of the tables about data sets and snapshots."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from sqlalchemy import Select, exists, func, or_, select, text, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.turns.tools import MARKS
from annotation_api.db import sql
from annotation_api.db.tables import (
    Assignment,
    Dataset,
    DatasetKind,
    DatasetRow,
    Project,
    Snapshot,
    SnapshotRow,
    Submission,
)

SEARCH_SECONDS = 5
QUERY_CANCELED = "57014"  # Postgres: a statement ran into its timeout
EXPORT_BATCH = 1000
EXPORT_BYTES = 2**23  # of lines in memory at once, unless one line is longer


def datasets(kind: DatasetKind | None, project: uuid.UUID | None) -> Select[Dataset]:
    query = select(Dataset)
    if kind is not None:
        query = query.where(Dataset.kind == kind)
    if project is not None:
        query = query.where(Dataset.project_id == project)
    return query


class SearchTooSlow(Exception):
    """Finding the next page of matches took longer than SEARCH_SECONDS."""


def dataset_rows(
    session: Session, dataset: uuid.UUID, after: tuple[int, int], limit: int, words: str = ""
) -> Sequence[DatasetRow]:
    """Rows after (row, part) in the order of the source; with `words`, those in which a text holds them."""
    query = select(DatasetRow).where(DatasetRow.dataset_id == dataset, tuple_(DatasetRow.row, DatasetRow.part) > after)
    query = query.where(DatasetRow.erased_at.is_(None))
    query = query.order_by(DatasetRow.row, DatasetRow.part).limit(limit)
    if not words:
        return session.scalars(query).all()
    try:
        with session.begin_nested():
            session.execute(text(f"SET LOCAL statement_timeout = '{SEARCH_SECONDS}s'"))
            return session.scalars(query.where(*sql.holds(DatasetRow.record, words))).all()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == QUERY_CANCELED:
            raise SearchTooSlow from error
        raise


def project_named(session: Session, name: str) -> Project | None:
    """A project by its id or its name."""
    try:
        return session.get(Project, uuid.UUID(name))
    except ValueError:
        return session.scalar(select(Project).where(Project.name == name))


def snapshots() -> Select[Snapshot]:
    return select(Snapshot)


def first_lines(session: Session, snapshot: uuid.UUID, limit: int) -> Sequence[str]:
    query = select(SnapshotRow.line).where(SnapshotRow.snapshot_id == snapshot, SnapshotRow.line != "")
    return session.scalars(query.order_by(SnapshotRow.position).limit(limit)).all()


def snapshot_counts(session: Session, snapshot: uuid.UUID) -> tuple[int, int]:
    """How many people and how many tasks the rows of a snapshot came from; zeros for imported files."""
    query = (
        select(func.count(Assignment.person_id.distinct()), func.count(Assignment.task_id.distinct()))
        .select_from(SnapshotRow)
        .join(Submission, Submission.id == SnapshotRow.submission_id)
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .where(SnapshotRow.snapshot_id == snapshot)
    )
    people, tasks = session.execute(query).one()
    return people, tasks


def snapshot_lines(sessions: sessionmaker[Session], snapshot: uuid.UUID) -> Iterator[str]:
    """The canonical lines in order. A batch is read at a time, each on its own short connection."""
    last = -1
    while rows := _lines_after(sessions, snapshot, last):
        yield from (line for _, line in rows)
        last = rows[-1][0]


def snapshot_holds_tools(session: Session, snapshot: uuid.UUID) -> bool:
    """Whether a line holds tools, as `holds_tools` says of one line."""
    marked = or_(*(func.strpos(SnapshotRow.line, mark) > 0 for mark in MARKS))
    return bool(session.scalar(select(exists().where(SnapshotRow.snapshot_id == snapshot, marked))))


def _lines_after(sessions: sessionmaker[Session], snapshot: uuid.UUID, last: int) -> list[tuple[int, str]]:
    """The next lines: EXPORT_BATCH at most, and about EXPORT_BYTES, but one at least."""
    rows = select(SnapshotRow.position, SnapshotRow.line).where(
        SnapshotRow.snapshot_id == snapshot, SnapshotRow.position > last
    )
    batch = rows.order_by(SnapshotRow.position).limit(EXPORT_BATCH).subquery()
    size = func.octet_length(batch.c.line)
    before = func.sum(size).over(order_by=batch.c.position) - size
    sized = select(batch, before.label("before")).subquery()
    query = select(sized.c.position, sized.c.line).where(sized.c.before < EXPORT_BYTES).order_by(sized.c.position)
    with sessions() as session:
        return [(position, line) for position, line in session.execute(query)]


def mapping_of(session: Session, columns: list[str]) -> dict[str, str]:
    """How the newest data set with these very columns was mapped by hand; empty when none was."""
    if not columns:
        return {}
    query = select(Dataset.mapping).where(Dataset.mapping["columns"] == columns).order_by(Dataset.created_at.desc())
    found = session.scalar(query.limit(1))
    return dict(found["map"]) if found else {}
