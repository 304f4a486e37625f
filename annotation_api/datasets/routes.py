"""/v1/datasets and /v1/snapshots."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import StreamingResponse

from annotation_api.datasets import prepared, progress, queries, service
from annotation_api.datasets.export_formats import TABLES
from annotation_api.datasets.exports import MEDIA_TYPES, SUFFIXES, ExportFormat, export
from annotation_api.datasets.formats.table import Format
from annotation_api.datasets.mapping import read_mapping
from annotation_api.datasets.schemas import (
    DatasetOut,
    DatasetRowOut,
    FreezeOut,
    FromPreparation,
    ImportPreview,
    ImportProgress,
    ImportRefusal,
    ImportReport,
    NewSnapshot,
    SnapshotOut,
)
from annotation_api.db.tables import Dataset, DatasetKind, Freeze, Snapshot
from annotation_api.http.dependencies import ENGINEERS, Config, Db, Me, allow, get_sessions
from annotation_api.http.downloads import Download
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.idempotency import Key, Made, Once
from annotation_api.http.labels import By, Labels, label, labelled
from annotation_api.http.pagination import Cursor, Limit, NextPage, Page, fetch_page
from annotation_api.http.schemas import ProblemBody

router = APIRouter(prefix="/v1", tags=["data"], route_class=DoorRoute)
Mapped = Annotated[
    str | None,
    Form(
        max_length=4000, description='Which column holds what, as JSON: {"prompt": "Question"}; in place of a layout.'
    ),
]


@router.post(
    "/datasets",
    status_code=201,
    response_model=ImportReport,
    responses={422: {"description": "Rows or fields were refused.", "model": ImportRefusal | ProblemBody}},
    dependencies=[allow(*ENGINEERS)],
)
def import_dataset(
    session: Db,
    me: Me,
    once: Once,
    file: Annotated[
        UploadFile, File(description="JSON, CSV, Parquet or Arrow; plain, gzip, zstd, or a zip of one file.")
    ],
    kind: Annotated[DatasetKind, Form(description="What the rows are to become.")],
    format: Annotated[Format, Form(description="The layout of the rows; `auto` looks at their fields.")] = Format.AUTO,
    project: Annotated[str | None, Form(description="Id or name of a project that the data belong to.")] = None,
    skip_bad: Annotated[bool, Form(description="Import the valid rows although others are refused.")] = False,
    name: Annotated[str | None, Form(description="Shown in lists; unset: the name of the file.")] = None,
    map: Mapped = None,
) -> Response:
    """Import a file whole. A refused row stops the import (422, with every refused row) unless `skip_bad`."""
    title = name or file.filename or "upload"
    session.commit()  # the caller is known; a connection is not held while the file is hashed
    asked = f"{service.sha256_of(file.file)} {kind} {format} {project} {skip_bad} {title}" + (f" {map}" if map else "")
    mapping = read_mapping(map, kind)
    return once.run(
        lambda: service.import_file(
            session,
            me,
            file.file,
            name=title,
            kind=kind,
            format=format,
            project=project,
            skip_bad=skip_bad,
            key=once.key,
            mapping=mapping,
        ),
        location="/v1/datasets/{dataset}",
        content=asked,
    )


@router.post("/datasets:preview", dependencies=[allow(*ENGINEERS)])
def preview_dataset(
    session: Db,
    me: Me,
    file: Annotated[UploadFile, File(description="As for an import.")],
    kind: Annotated[DatasetKind, Form(description="What the rows are to become.")],
    format: Annotated[Format, Form(description="The layout of the rows; `auto` looks at their fields.")] = Format.AUTO,
    key: Key = None,
    map: Mapped = None,
    beginning: Annotated[
        bool, Form(description="The file was cut, at a row or within one: its last row is left out.")
    ] = False,
) -> ImportPreview:
    """Read a file, or its beginning, and say what importing it would give, with its first records; stores nothing."""
    mapping = read_mapping(map, kind)
    return service.preview(session, me, file.file, kind, format, key, mapping, beginning=beginning)


@router.post("/datasets:from-preparation", status_code=201, response_model=DatasetOut, dependencies=[allow(*ENGINEERS)])
def keep_prepared(body: FromPreparation, session: Db, me: Me, once: Once, settings: Config) -> Response:
    """What a prepare job would leave, as a new data set; its source stays as it is."""
    return once.run(
        lambda: DatasetOut.model_validate(prepared.keep(session, me, settings.home, body)),
        location="/v1/datasets/{id}",
    )


@router.get("/imports/{key}", dependencies=[allow(*ENGINEERS)])
def show_import(key: str, me: Me) -> ImportProgress | None:
    """How far the caller's own import or preview with this Idempotency-Key is; null when none runs."""
    found = progress.running(me.id, key)
    return ImportProgress.model_validate(found) if found else None


@router.get("/datasets", dependencies=[allow(*ENGINEERS)])
def list_datasets(
    session: Db,
    more: NextPage,
    kind: DatasetKind | None = None,
    project: uuid.UUID | None = None,
    by: By = (None, None),
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DatasetOut]:
    """Data sets, newest first."""
    query = labelled(queries.datasets(kind, project), Dataset, by)
    items, after = fetch_page(session, query, Dataset, DatasetOut.model_validate, limit=limit, cursor=cursor)
    return more.page(items, after)


@router.get("/datasets/{dataset_id}", dependencies=[allow(*ENGINEERS)])
def show_dataset(dataset_id: uuid.UUID, session: Db) -> DatasetOut:
    """One data set and its counts."""
    return DatasetOut.model_validate(service.get_dataset(session, dataset_id))


@router.delete("/datasets/{dataset_id}", status_code=204, dependencies=[allow(*ENGINEERS)])
def undo_prepared(dataset_id: uuid.UUID, session: Db) -> None:
    """Undo a preparation: its data set goes, as long as no snapshot and no task was made of it."""
    prepared.undo(session, dataset_id)


@router.patch("/datasets/{dataset_id}", dependencies=[allow(*ENGINEERS)])
def label_dataset(dataset_id: uuid.UUID, body: Labels, session: Db) -> DatasetOut:
    """Give a data set another name, notes or tags; what is left out stays."""
    return DatasetOut.model_validate(label(service.get_dataset(session, dataset_id), body))


@router.get("/datasets/{dataset_id}/rows", dependencies=[allow(*ENGINEERS)])
def list_dataset_rows(
    dataset_id: uuid.UUID,
    session: Db,
    more: NextPage,
    limit: Limit = 100,
    cursor: Annotated[
        str | None, Query(pattern=r"^\d{1,9}\.\d{1,9}$", description="`next` of the page before.")
    ] = None,
) -> Page[DatasetRowOut]:
    """The records in the order of the source."""
    service.get_dataset(session, dataset_id)
    row, _, part = (cursor or "0.0").partition(".")
    rows = queries.dataset_rows(session, dataset_id, (int(row), int(part)), limit + 1)
    items = [DatasetRowOut.model_validate(found) for found in rows[:limit]]
    return more.page(items, f"{items[-1].row}.{items[-1].part}" if len(rows) > limit else None)


@router.post(
    "/snapshots",
    status_code=201,
    response_model=SnapshotOut,
    responses={202: {"description": "10,000 rows or more: it goes on; Location tells how far.", "model": FreezeOut}},
    dependencies=[allow(*ENGINEERS)],
)
def create_snapshot(body: NewSnapshot, session: Db, me: Me, once: Once) -> Response:
    """Freeze the data of a project or a data set, as training will read them."""

    def make() -> Made:
        found = service.freeze_or_ask(session, me, body)
        if isinstance(found, Freeze):
            return Made(FreezeOut.model_validate(found), 202, "/v1/freezes/{id}")
        return Made(SnapshotOut.model_validate(found), 201, "/v1/snapshots/{id}")

    return once.run(make)


@router.get("/freezes/{freeze_id}", dependencies=[allow(*ENGINEERS)])
def show_freeze(freeze_id: uuid.UUID, session: Db) -> FreezeOut:
    """How far a freeze is, and its snapshot once it has ended."""
    return FreezeOut.model_validate(service.get_freeze(session, freeze_id))


@router.get("/snapshots", dependencies=[allow(*ENGINEERS)])
def list_snapshots(
    session: Db, more: NextPage, by: By = (None, None), limit: Limit = 100, cursor: Cursor = None
) -> Page[SnapshotOut]:
    """Snapshots, newest first."""
    query = labelled(queries.snapshots(), Snapshot, by)
    items, after = fetch_page(session, query, Snapshot, SnapshotOut.model_validate, limit=limit, cursor=cursor)
    return more.page(items, after)


@router.get("/snapshots/{snapshot_id}", dependencies=[allow(*ENGINEERS)])
def show_snapshot(snapshot_id: uuid.UUID, session: Db) -> SnapshotOut:
    """One snapshot: what it was frozen from, its hash and its size."""
    return SnapshotOut.model_validate(service.get_snapshot(session, snapshot_id))


@router.patch("/snapshots/{snapshot_id}", dependencies=[allow(*ENGINEERS)])
def label_snapshot(snapshot_id: uuid.UUID, body: Labels, session: Db) -> SnapshotOut:
    """Give a snapshot another name, notes or tags; what is left out stays. Its rows never change."""
    return SnapshotOut.model_validate(label(service.get_snapshot(session, snapshot_id), body))


@router.get("/snapshots/{snapshot_id}/export", response_class=StreamingResponse, dependencies=[allow(*ENGINEERS)])
def export_snapshot(
    snapshot_id: uuid.UUID, request: Request, session: Db, format: ExportFormat = ExportFormat.JSONL
) -> Download:
    """The snapshot as a file: our own records (`jsonl`, `records-parquet`), or TRL's columns (`trl`, `parquet`,
    and `csv` for spreadsheets, with formulas disarmed)."""
    snapshot = service.get_whole_snapshot(session, snapshot_id)
    lines = queries.snapshot_lines(get_sessions(request), snapshot_id)
    tools = format in TABLES and queries.snapshot_holds_tools(session, snapshot_id)
    pieces = export(lines, snapshot.kind.value, format, tools=tools)
    name = f"snapshot-{snapshot_id}.{SUFFIXES[format]}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Download(pieces, request.app.state.download_threads, MEDIA_TYPES[format], headers)
