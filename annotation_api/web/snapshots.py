"""Pages on snapshots: make one from a project or a data set, see what is in it, download it in every format."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence, unpacked
from annotation_api.datasets import queries, service
from annotation_api.datasets.exports import ExportFormat
from annotation_api.datasets.schemas import NewSnapshot
from annotation_api.db.kinds import Adjudicated, PausedPeople
from annotation_api.db.snapshots.freeze import DATASET_SOURCES, PROJECT_SOURCES
from annotation_api.db.snapshots.frozen_rows import HOLDS
from annotation_api.db.snapshots.votes import USUAL, VoteChoice
from annotation_api.db.tables import Dataset, DatasetKind, FeedbackKind, Freeze, Person, Project, Snapshot
from annotation_api.http.dependencies import ENGINEERS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError
from annotation_api.http.labels import searched
from annotation_api.http.pagination import fetch_rows
from annotation_api.models.descent import derived
from annotation_api.web.markup.fields import Words
from annotation_api.web.markup.rendering import render, see_other
from annotation_api.web.markup.returned import NOTHING_SENT, Returned
from annotation_api.web.models import branches
from annotation_api.web.queries import PAGE, kinds_asked, newest, origins
from annotation_api.web.runs import titles

router = APIRouter(route_class=DoorRoute)

FIRST = 10  # records shown of a snapshot
EVERY = {"name": "", "tag": ""}


@router.get("/snapshots", dependencies=[allow(*ENGINEERS)])
def snapshots_page(
    request: Request,
    session: Db,
    me: Me,
    project: uuid.UUID | None = None,
    dataset: uuid.UUID | None = None,
    name: Words = "",
    tag: Words = "",
    cursor: str | None = None,
) -> Response:
    """Newest first, of a tag or part of a name where they are chosen; `project` or `dataset` fills in the form."""
    source = f"project:{project}" if project else f"dataset:{dataset}" if dataset else ""
    return _snapshots(request, session, me, source=source, chosen={"name": name, "tag": tag}, cursor=cursor)


@router.post("/snapshots", dependencies=[allow(*ENGINEERS)])
def freeze(
    request: Request,
    session: Db,
    me: Me,
    source: Annotated[str, Form(description="project:ID or dataset:ID")],
    kind: Annotated[DatasetKind, Form()],
    adjudicated: Annotated[Adjudicated, Form()] = Adjudicated.INSTEAD,
    paused: Annotated[PausedPeople, Form()] = PausedPeople.OUT,
) -> Response:
    """Freeze the source as the kind, of a project the judgements that were chosen; the page of the snapshot."""
    what, _, key = source.partition(":")
    try:
        wanted = NewSnapshot.model_validate({what: key, "kind": kind, "adjudicated": adjudicated, "paused": paused})
        found = service.freeze_or_ask(session, me, wanted)
        return see_other(f"/freezes/{found.id}" if isinstance(found, Freeze) else f"/snapshots/{found.id}")
    except ValidationError:
        error: str = Sentence("no-source", "Choose a project or a data set from the list.")
    except ApiError as refusal:
        error = refusal.shown
    session.rollback()
    votes = VoteChoice(adjudicated, paused)
    return _snapshots(request, session, me, 422, source=source, kind=kind.value, votes=votes, error=error)


@router.get("/freezes/{freeze_id}", dependencies=[allow(*ENGINEERS)])
def freeze_page(freeze_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    """How far a freeze is; the page looks again by itself, and becomes the snapshot's."""
    found = service.get_freeze(session, freeze_id)
    if found.snapshot_id is not None:
        return see_other(f"/snapshots/{found.snapshot_id}")
    return render(request, "freeze.html", me, freeze=found, error=unpacked(found.error or ""))


def _snapshots(
    request: Request,
    session: Session,
    me: Person,
    status: int = 200,
    *,
    source: str,
    kind: str = "",
    votes: VoteChoice = USUAL,
    error: str | None = None,
    chosen: Mapping[str, str] = EVERY,
    cursor: str | None = None,
) -> Response:
    query = searched(queries.snapshots(), Snapshot, chosen["name"], chosen["tag"])
    shown, after = fetch_rows(session, query, Snapshot, limit=PAGE, cursor=cursor or None)
    projects, datasets = newest(session, Project), newest(session, Dataset)
    return render(
        request,
        "snapshots.html",
        me,
        status,
        snapshots=shown,
        origins=origins(session, shown),
        projects=projects,
        datasets=datasets,
        fits=_of_projects(session, projects) | _of_datasets(datasets),
        project_kinds=list(PROJECT_SOURCES),
        dataset_kinds=list(DATASET_SOURCES),
        source=source,
        kind=kind,
        votes=votes,
        adjudicated=list(Adjudicated),
        paused=list(PausedPeople),
        error=error,
        chosen=chosen,
        next=after,
        first=not cursor,
    )


ASKED = {  # what a project collects by what it asks; better answers and prompts come of all
    FeedbackKind.RANKING: DatasetKind.RANKINGS,
    FeedbackKind.QUESTIONS: DatasetKind.ANSWERS,
    FeedbackKind.RULES: DatasetKind.VERDICTS,
}


def _of_projects(session: Session, projects: Sequence[Project]) -> dict[str, list[str]]:
    """The kinds that each project can be frozen as, by the value that the form sends."""
    asked = kinds_asked(session, [row.id for row in projects])
    always = [kind.value for kind in PROJECT_SOURCES if kind not in ASKED.values()]
    return {f"project:{row.id}": [ASKED[kind].value for kind in asked[row.id]] + always for row in projects}


def _of_datasets(datasets: Sequence[Dataset]) -> dict[str, list[str]]:
    """The same of data sets."""
    return {
        f"dataset:{row.id}": [kind.value for kind, held in DATASET_SOURCES.items() if row.kind in held]
        for row in datasets
    }


@router.get("/snapshots/{snapshot_id}", dependencies=[allow(*ENGINEERS)])
def snapshot_page(snapshot_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    return shown_snapshot(request, session, me, snapshot_id)


def shown_snapshot(
    request: Request, session: Session, me: Person, snapshot_id: uuid.UUID, back: Returned = NOTHING_SENT
) -> Response:
    """The page of a snapshot; `back` is its form that comes again."""
    snapshot = service.get_snapshot(session, snapshot_id)
    held, after = HOLDS[snapshot.kind], derived(session, snapshot)
    return render(
        request,
        "snapshot.html",
        me,
        back.status,
        returned=back,
        snapshot=snapshot,
        descent=branches(after, forward=True),
        titles=titles.of_nodes(session, [node.id for node in after.nodes]),
        origin=origins(session, [snapshot])[snapshot.id],
        maker=session.get_one(Person, snapshot.created_by),
        counts=queries.snapshot_counts(session, snapshot.id),
        formats=list(ExportFormat),
        holds=held.__name__,
        records=[
            held.from_line(line).model_dump(mode="json", exclude_none=True)
            for line in queries.first_lines(session, snapshot.id, FIRST)
        ],
    )
