"""Importing files whole or not at all, and freezing data for training."""

from __future__ import annotations

import hashlib
import uuid
from typing import IO, Any

from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.datasets import progress, queries
from annotation_api.datasets.formats.mapping import Mapping
from annotation_api.datasets.formats.reading import Accepted, Reading
from annotation_api.datasets.formats.table import Format
from annotation_api.datasets.mapping import refuse_collected
from annotation_api.datasets.schemas import ImportPreview, ImportReport, NewSnapshot, RecordOut, RowProblem
from annotation_api.db.snapshots import freeze, freezes
from annotation_api.db.snapshots.frozen_rows import FreezeError
from annotation_api.db.snapshots.votes import VoteChoice
from annotation_api.db.sql import copy_in
from annotation_api.db.tables import Dataset, DatasetKind, Freeze, Person, Project, Snapshot
from annotation_api.http.errors import ApiError, invalid, not_found
from annotation_api.http.labels import Labels, label, on_one_line

INSERT_BATCH = 1000  # rows written at once, or fewer of together
INSERT_SIZE = 2**22  # characters
STORE = "COPY dataset_rows (dataset_id, row, part, record_hash, record) FROM STDIN"
PREVIEWED = 20  # records in a preview, or fewer of together
PREVIEW_SIZE = 2**20  # characters


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
    key: str | None = None,
    mapping: Mapping | None = None,
) -> ImportReport:
    """Store the records of `file` as one data set; with `skip_bad` without the rows that are refused.

    `key` is the upload's Idempotency-Key, under which `progress` tells how far it is.

    Raises ImportRefused (and stores nothing) when a row is refused without `skip_bad`, when the file
    cannot be read to its end, or when no row is left.
    """
    refuse_collected(kind)
    owner = _project(session, project)
    dataset = Dataset(
        name=on_one_line(name), kind=kind, format=format, project_id=owner.id if owner else None,
        sha256=sha256_of(file), accepted=0, duplicates=0, rejected=0, created_by=me.id,
    )  # fmt: skip
    session.add(dataset)
    session.flush()
    with progress.watched(file, me.id, key) as watched:
        reading = Reading(watched, kind.value, format.value, mapping)
        _store(session, dataset, reading, skip_bad, watched)
    refusal = _why_not(reading, skip_bad)
    report = _report(reading, None if refusal else dataset)
    if refusal:
        raise ImportRefused(report, refusal)
    dataset.format = reading.format.value
    dataset.accepted, dataset.duplicates = reading.accepted, reading.duplicates
    dataset.rejected = len(reading.refusals)
    dataset.mapping = {"map": mapping, "columns": reading.columns} if mapping else None
    session.flush()
    return report


def preview(
    session: Session,
    me: Person,
    file: IO[bytes],
    kind: DatasetKind,
    format: Format,
    key: str | None = None,
    mapping: Mapping | None = None,
    *,
    beginning: bool = False,
) -> ImportPreview:
    """What importing the file would report, and its first records; stores nothing. `beginning`: the file was cut."""
    refuse_collected(kind)
    session.commit()  # the caller is known; a connection is not held while the file is read
    first: list[RecordOut] = []
    size = 0
    with progress.watched(file, me.id, key) as watched:
        reading = Reading(watched, kind.value, format.value, mapping, beginning=beginning)
        for item in reading:
            watched.rows = reading.accepted + reading.duplicates
            size += len(item.line)
            if len(first) < PREVIEWED and (size <= PREVIEW_SIZE or not first):
                first.append(RecordOut(row=item.row, part=item.part, record=_record(item)))
    return ImportPreview(
        **_report(reading, None).model_dump(),
        broken=reading.broken,
        beginning=beginning,
        records=first,
        columns=reading.columns,
        offered=queries.mapping_of(session, reading.columns),
    )


def _store(session: Session, dataset: Dataset, reading: Reading, skip_bad: bool, watched: progress.WatchedFile) -> None:
    """Write the records in batches; a strict import stops writing at the first bad row, but reads on."""
    batch: list[Accepted] = []
    size = 0
    for item in reading:
        if reading.refusals and not skip_bad:
            continue
        batch.append(item)
        size += len(item.line)
        if len(batch) == INSERT_BATCH or size >= INSERT_SIZE:
            _write(session, dataset, batch)
            batch, size = [], 0
            watched.rows = reading.accepted + reading.duplicates
    _write(session, dataset, batch)


def _write(session: Session, dataset: Dataset, batch: list[Accepted]) -> None:
    copy_in(session, STORE, ((dataset.id, item.row, item.part, item.hash, item.line) for item in batch))


def _record(item: Accepted) -> dict[str, Any]:
    return item.record.model_dump(mode="json", exclude_none=True, exclude_defaults=True)


def _why_not(reading: Reading, skip_bad: bool) -> str | None:
    """Why nothing is stored, or None when the data set stands."""
    refused = len(reading.refusals)
    if reading.broken:
        last = reading.refusals[-1]
        return f"Nothing was imported: the file cannot be read to its end. Row {last.row}: {last.message}."
    if refused and not skip_bad:
        return f"Nothing was imported: {refused} of its rows are refused. Mend them, or skip the bad rows."
    if not reading.accepted:
        why = f" ({'; '.join(reading.notes[:3])})" if reading.notes else ""
        return f"Nothing was imported: no row is left, {refused} were refused{why}."
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
        unused=reading.unused,
        unknown=reading.unknown,
    )


def _project(session: Session, name: str | None) -> Project | None:
    if not name:
        return None
    found = queries.project_named(session, name)
    if found is None:
        raise invalid(
            [
                Problem(
                    pointer="/project",
                    message=Sentence("no-project-named", "There is no project %(name)s.", name=f"{name!r}"),
                    value=name,
                )
            ]
        )
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


def get_whole_snapshot(session: Session, key: object) -> Snapshot:
    """409 for one that lost rows: what is left has another hash than it says."""
    found = get_snapshot(session, key)
    if found.erased_at is not None:
        gone = "%(rows)s rows of this snapshot were erased on %(day)s. Freeze the data again and export the new one."
        day = f"{found.erased_at:%Y-%m-%d}"
        raise ApiError(409, "erased-rows", Sentence("erased-rows", gone, rows=found.erased_rows, day=day))
    return found


def freeze_or_ask(session: Session, me: Person, body: NewSnapshot) -> Snapshot | Freeze:
    """As `freeze_source`; a large source that changed since is put on the list of what the dispatcher freezes."""
    _check_source(session, body)
    source = freezes.source_of(body.dataset, body.project, _choice(body))
    if not freezes.is_large(session, body.kind, source) or _frozen_already(session, body):
        return freeze_source(session, me, body)
    labels = body.model_dump(mode="json", include=body.model_fields_set & set(Labels.model_fields))
    return freezes.ask(session, body.kind, source, me.id, labels)


def _choice(body: NewSnapshot) -> VoteChoice:
    return VoteChoice(body.adjudicated, body.paused)


def _check_source(session: Session, body: NewSnapshot) -> None:
    """What cannot be frozen is refused at once, however large it is."""
    try:
        if body.dataset is not None:
            freeze.check_dataset(session, body.dataset, body.kind)
        elif body.project is not None:
            freeze.check_project(session, body.project, body.kind)
    except FreezeError as error:
        raise _refused(body, error) from None


def _frozen_already(session: Session, body: NewSnapshot) -> bool:
    if body.project is not None:
        return freeze.unchanged(session, body.project, body.kind, _choice(body)) is not None
    assert body.dataset is not None
    return freeze.dataset_snapshot(session, body.dataset, body.kind) is not None


def get_freeze(session: Session, freeze_id: uuid.UUID) -> Freeze:
    """404 also for one of a source that the caller does not see."""
    row = session.get(Freeze, freeze_id)
    if row is None:
        raise not_found("freeze", freeze_id)
    kind, name = (Dataset, "dataset") if "dataset" in row.source else (Project, "project")
    if session.get(kind, uuid.UUID(row.source[name])) is None:
        raise not_found("freeze", freeze_id)
    return row


def freeze_source(session: Session, me: Person, body: NewSnapshot) -> Snapshot:
    """Freeze a data set or a project; 422 when it is absent, empty, or cannot be read as the kind."""
    try:
        if body.dataset is not None:
            return label(freeze.freeze_dataset(session, body.dataset, body.kind, me.id), body)
        assert body.project is not None
        return label(freeze.freeze_project(session, body.project, me.id, body.kind, _choice(body)), body)
    except FreezeError as error:
        raise _refused(body, error) from None


def _refused(body: NewSnapshot, error: FreezeError) -> ApiError:
    pointer = "/dataset" if body.dataset is not None else "/project"
    return invalid([Problem(pointer=pointer, message=error.said)])
