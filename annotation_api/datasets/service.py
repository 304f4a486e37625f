"""Importing files whole or not at all, and freezing data for training."""

from __future__ import annotations

import hashlib
from typing import IO, Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from alignment.config import Problem
from annotation_api.datasets import queries
from annotation_api.datasets.formats.reading import Accepted, Reading
from annotation_api.datasets.formats.table import Format
from annotation_api.datasets.schemas import ImportReport, NewSnapshot, RowProblem
from annotation_api.db import freeze
from annotation_api.db.frozen_rows import FreezeError
from annotation_api.db.tables import Dataset, DatasetKind, DatasetRow, Person, Project, Snapshot
from annotation_api.errors import ApiError, invalid, not_found

INSERT_BATCH = 1000


class ImportRefused(ApiError):
    """The file was not stored; the problem carries the whole report, rows and all."""

    def __init__(self, report: ImportReport, detail: str) -> None:
        super().__init__(422, "rows-refused", detail)
        self.report = report

    def body(self) -> dict[str, Any]:
        return super().body() | self.report.model_dump(mode="json")


def sha256_of(file: IO[bytes]) -> str:
    """The hash of the file as uploaded; leaves it at its start."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    return digest


def import_file(
    session: Session,
    me: Person,
    file: IO[bytes],
    *,
    name: str,
    kind: DatasetKind,
    format: Format,
    project: str | None,
    skip_bad: bool,
) -> ImportReport:
    """Store the records of `file` as one data set; with `skip_bad` without the rows that are refused.

    Raises ImportRefused (and stores nothing) when a row is refused without `skip_bad`, when the file
    cannot be read to its end, or when no row is left.
    """
    owner = _project(session, project)
    dataset = Dataset(
        name=name, kind=kind, format=format, project_id=owner.id if owner else None, sha256=sha256_of(file),
        accepted=0, duplicates=0, rejected=0, created_by=me.id,
    )  # fmt: skip
    session.add(dataset)
    session.flush()
    reading = Reading(file, kind.value, format.value)
    _store(session, dataset, reading, skip_bad)
    refusal = _why_not(reading, skip_bad)
    report = _report(reading, None if refusal else dataset)
    if refusal:
        raise ImportRefused(report, refusal)
    dataset.format = reading.format.value
    dataset.accepted, dataset.duplicates = reading.accepted, reading.duplicates
    dataset.rejected = len(reading.refusals)
    session.flush()
    return report


def _store(session: Session, dataset: Dataset, reading: Reading, skip_bad: bool) -> None:
    """Write the records in batches; a strict import stops writing at the first bad row, but reads on."""
    batch: list[dict[str, Any]] = []
    for item in reading:
        if reading.refusals and not skip_bad:
            continue
        batch.append(_row(dataset, item))
        if len(batch) == INSERT_BATCH:
            session.execute(insert(DatasetRow), batch)
            batch = []
    if batch:
        session.execute(insert(DatasetRow), batch)


def _row(dataset: Dataset, item: Accepted) -> dict[str, Any]:
    record = item.record.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return {
        "dataset_id": dataset.id,
        "row": item.row,
        "part": item.part,
        "record_hash": item.hash,
        "record": record,
    }


def _why_not(reading: Reading, skip_bad: bool) -> str | None:
    """Why nothing is stored, or None when the data set stands."""
    refused = len(reading.refusals)
    if reading.broken:
        last = reading.refusals[-1]
        return f"Nothing was imported: the file cannot be read to its end. Row {last.row}: {last.message}."
    if refused and not skip_bad:
        return f"Nothing was imported: {refused} of its rows are refused. Mend them, or skip the bad rows."
    if not reading.accepted:
        return f"Nothing was imported: no row is left, {refused} were refused."
    return None


def _report(reading: Reading, dataset: Dataset | None) -> ImportReport:
    return ImportReport(
        dataset=dataset.id if dataset else None,
        kind=DatasetKind(reading.kind),
        format=reading.format.value,
        accepted=reading.accepted,
        duplicates=reading.duplicates,
        rejected=len(reading.refusals),
        errors=[RowProblem(**refusal.as_dict()) for refusal in reading.refusals],
        notes=reading.notes,
    )


def _project(session: Session, name: str | None) -> Project | None:
    if not name:
        return None
    found = queries.project_named(session, name)
    if found is None:
        raise invalid([Problem(pointer="/project", message=f"There is no project {name!r}.", value=name)])
    return found


def get_dataset(session: Session, key: object) -> Dataset:
    found = session.get(Dataset, key)
    if found is None:
        raise not_found("data set", key)
    return found


def get_snapshot(session: Session, key: object) -> Snapshot:
    found = session.get(Snapshot, key)
    if found is None:
        raise not_found("snapshot", key)
    return found


def freeze_source(session: Session, me: Person, body: NewSnapshot) -> Snapshot:
    """Freeze a data set or a project; 422 when it is absent, empty, or cannot be read as the kind."""
    try:
        if body.dataset is not None:
            return freeze.freeze_dataset(session, body.dataset, body.kind, me.id)
        assert body.project is not None
        return freeze.freeze_project(session, body.project, me.id, body.kind)
    except FreezeError as error:
        pointer = "/dataset" if body.dataset is not None else "/project"
        raise invalid([Problem(pointer=pointer, message=str(error))]) from None
