"""Pages on data sets: what there is, an upload with a look at it before it is stored, browsing with search.

Without scripts an upload is two plain forms: the first sends the file and shows the preview, the second
says yes. data.js adds how far they are.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.on_data.prepare import PERSONAL
from alignment.shared.sentence import Sentence
from annotation_api.datasets import queries, refusals, service, staged
from annotation_api.datasets.formats.mapping import NEEDED, WANTED
from annotation_api.datasets.formats.table import Format
from annotation_api.datasets.mapping import read_mapping
from annotation_api.datasets.schemas import ImportPreview
from annotation_api.db.snapshots.frozen_rows import COLLECTED, HOLDS
from annotation_api.db.tables import Dataset, DatasetKind, DatasetRow, Person, Project
from annotation_api.http.dependencies import ENGINEERS, Config, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError
from annotation_api.http.labels import searched
from annotation_api.http.pagination import fetch_rows
from annotation_api.models.descent import derived
from annotation_api.settings import Settings
from annotation_api.web.markup.fields import Words
from annotation_api.web.markup.rendering import render, see_other
from annotation_api.web.markup.returned import NOTHING_SENT, Returned
from annotation_api.web.models import branches
from annotation_api.web.queries import PAGE, newest
from annotation_api.web.runs import titles
from annotation_api.web.start.inputs import offered

router = APIRouter(route_class=DoorRoute)

IMPORTED = [kind for kind in DatasetKind if kind not in COLLECTED]
RECORDS = 20  # records on a page
FIRST_PAGE = "0.0"  # after the row and the part of it
SHOWN_PROBLEMS = 50
ONLY_ITS_BEGINNING = Sentence(
    "only-its-beginning", "Only the beginning of this file was sent. Choose the file again and send it whole."
)
Key = Annotated[str | None, Form(max_length=255)]


@dataclass(frozen=True)
class PendingImport:
    """A file that waits for a yes, and what was said about it."""

    token: str
    name: str
    kind: DatasetKind
    format: Format
    project: str
    map: str = ""
    beginning: bool = False  # the script sent the first megabytes only, and sends the whole file with the yes


@router.get("/datasets", dependencies=[allow(*ENGINEERS)])
def datasets_page(
    request: Request, session: Db, me: Me, name: Words = "", tag: Words = "", cursor: str | None = None
) -> Response:
    """Newest first, of a tag or part of a name where they are chosen; and the form that imports a file."""
    query = searched(queries.datasets(None, None), Dataset, name, tag)
    rows, after = fetch_rows(session, query, Dataset, limit=PAGE, cursor=cursor or None)
    context = {"kinds": IMPORTED, "formats": list(Format), "projects": newest(session, Project)}
    context |= {"chosen": {"name": name, "tag": tag}, "next": after, "first": not cursor}
    return render(request, "datasets.html", me, datasets=rows, **context)


@router.post("/datasets/preview", dependencies=[allow(*ENGINEERS)])
def preview(
    request: Request,
    file: Annotated[UploadFile, File()],
    kind: Annotated[DatasetKind, Form()],
    session: Db,
    me: Me,
    settings: Config,
    format: Annotated[Format, Form()] = Format.AUTO,
    project: Annotated[str, Form()] = "",
    key: Key = None,
    beginning: Annotated[bool, Form()] = False,
) -> Response:
    """Keep the file for the second form, and show what importing it would give."""
    token = staged.keep(settings.home, me.id, file.file)
    upload = PendingImport(token, file.filename or "upload", kind, format, project, beginning=beginning)
    return _preview(request, session, me, settings, upload, key)


@router.post("/datasets/map", dependencies=[allow(*ENGINEERS)])
def map_columns(
    request: Request,
    token: Annotated[str, Form()],
    name: Annotated[str, Form(max_length=300)],
    kind: Annotated[DatasetKind, Form()],
    session: Db,
    me: Me,
    settings: Config,
    format: Annotated[Format, Form()] = Format.AUTO,
    project: Annotated[str, Form()] = "",
    field: Annotated[list[str], Form(max_length=20)] = [],  # noqa: B006  (never changed)
    column: Annotated[list[str], Form(max_length=20)] = [],  # noqa: B006
    beginning: Annotated[bool, Form()] = False,
) -> Response:
    """The file again, with its columns named by hand: `field` and `column` in pairs, an empty column for none."""
    named = {one: other for one, other in zip(field, column, strict=False) if other}
    upload = PendingImport(token, name, kind, format, project, json.dumps(named, ensure_ascii=False), beginning)
    return _preview(request, session, me, settings, upload, None)


@router.post("/datasets", dependencies=[allow(*ENGINEERS)])
def commit(
    request: Request,
    token: Annotated[str, Form()],
    name: Annotated[str, Form(max_length=300)],
    kind: Annotated[DatasetKind, Form()],
    session: Db,
    me: Me,
    settings: Config,
    format: Annotated[Format, Form()] = Format.AUTO,
    project: Annotated[str, Form()] = "",
    skip_bad: Annotated[bool, Form()] = False,
    key: Key = None,
    map: Annotated[str, Form(max_length=4000)] = "",
    beginning: Annotated[bool, Form()] = False,
    whole: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Store the file that was previewed; the page of the new data set."""
    upload = PendingImport(token, name, kind, format, project, map, beginning)
    if beginning and whole is None:
        return _preview(
            request, session, me, settings, upload, key, error=ApiError(422, "beginning-only", ONLY_ITS_BEGINNING)
        )
    try:
        with whole.file if whole else staged.reopen(settings.home, me.id, token) as file:
            report = service.import_file(
                session,
                me,
                file,
                name=name,
                kind=kind,
                format=format,
                project=project or None,
                skip_bad=skip_bad,
                key=key,
                mapping=read_mapping(map, kind),
            )
    except service.ImportRefused as refusal:
        session.rollback()
        return _preview(request, session, me, settings, upload, key, error=refusal)
    assert report.dataset is not None
    refusals.keep(settings.home, report.dataset, report.errors)
    staged.forget(settings.home, me.id, token)
    return see_other(f"/datasets/{report.dataset}")


def _preview(
    request: Request,
    session: Session,
    me: Person,
    settings: Settings,
    upload: PendingImport,
    key: str | None,
    error: ApiError | None = None,
) -> Response:
    try:
        mapping = read_mapping(upload.map, upload.kind)
    except ApiError as problem:
        error, mapping = problem, None
    with staged.reopen(settings.home, me.id, upload.token) as file:
        seen = service.preview(session, me, file, upload.kind, upload.format, key, mapping, beginning=upload.beginning)
    return render(
        request,
        "dataset_preview.html",
        me,
        error.status if error else 200,
        upload=upload,
        seen=seen,
        problems=seen.errors[:SHOWN_PROBLEMS],
        holds=HOLDS[upload.kind].__name__,
        importable=_importable(seen),
        fields=WANTED[upload.kind.value],
        needed=NEEDED[upload.kind.value],
        mapping=mapping or seen.offered,
        error=error.detail if error else None,
    )


def _importable(seen: ImportPreview) -> bool:
    return bool(seen.accepted) and not seen.broken


@router.get("/datasets/{dataset_id}", dependencies=[allow(*ENGINEERS)])
def dataset_page(
    dataset_id: uuid.UUID,
    request: Request,
    session: Db,
    me: Me,
    settings: Config,
    q: Words = "",
    after: Annotated[str, Query(pattern=r"^\d{1,9}\.\d{1,9}$")] = FIRST_PAGE,
) -> Response:
    """Counts, what was refused, and the records a page at a time, all or those with some words in them."""
    return shown_dataset(request, session, me, settings, dataset_id, q, after)


def shown_dataset(
    request: Request,
    session: Session,
    me: Person,
    settings: Settings,
    dataset_id: uuid.UUID,
    q: str = "",
    after: str = FIRST_PAGE,
    *,
    back: Returned = NOTHING_SENT,
) -> Response:
    """The page of a data set; `back` is one of its forms that comes again."""
    dataset = service.get_dataset(session, dataset_id)
    rows, too_slow = _rows(session, dataset, q.strip(), after)
    problems, after_it = refusals.kept(settings.home, dataset.id), derived(session, dataset)
    return render(
        request,
        "dataset.html",
        me,
        back.status,
        dataset=dataset,
        returned=back,
        descent=branches(after_it, forward=True),
        titles=titles.of_nodes(session, [node.id for node in after_it.nodes]),
        offered=offered(session, Stage.PREPARE),
        teachers=sorted(settings.teacher_endpoints),
        personal_kinds=PERSONAL,
        project=session.get(Project, dataset.project_id) if dataset.project_id else None,
        holds=HOLDS[dataset.kind].__name__,
        rows=rows[:RECORDS],
        next=f"{rows[RECORDS - 1].row}.{rows[RECORDS - 1].part}" if len(rows) > RECORDS else None,
        q=q,
        after=after,
        too_slow=too_slow,
        problems=problems[:SHOWN_PROBLEMS],
        problems_kept=len(problems),
    )


def _rows(session: Session, dataset: Dataset, words: str, after: str) -> tuple[list[DatasetRow], bool]:
    row, _, part = after.partition(".")
    place = (int(row), int(part))
    try:
        found = queries.dataset_rows(session, dataset.id, place, RECORDS + 1, words)
    except queries.SearchTooSlow:
        return [], True
    return list(found), False
