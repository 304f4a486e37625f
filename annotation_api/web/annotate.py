"""The page on which people rank: a plain form that works without scripts."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from annotation_api.db.tables import Person, Project, Submission
from annotation_api.dependencies import ANNOTATES, Db, Me, allow
from annotation_api.errors import ApiError, from_validation
from annotation_api.feedback import queries as judgements
from annotation_api.feedback import service as feedback
from annotation_api.feedback.schemas import NewSubmission
from annotation_api.tasks import projects, queries, service
from annotation_api.tasks.schemas import AssignmentOut
from annotation_api.web.rendering import read_form, render, see_other, text_of

router = APIRouter(prefix="/projects/{project_id}", dependencies=[allow(*ANNOTATES)])
Form = Annotated[FormData, Depends(read_form)]


PLAIN_WORDS = {  # where the service's own sentence speaks to programs
    "already-submitted": "You answered this task already. “Change my last answer” lets you change it.",
}


@dataclass(frozen=True)
class Card:
    """One text to rank; identical responses share a card, so that they are tied by themselves."""

    label: str  # A, B, ... in the order shown
    text: str
    ids: tuple[uuid.UUID, ...]

    @property
    def field(self) -> str:
        return f"rank-{self.label}"


@dataclass(frozen=True)
class Entered:
    """What stands in the form: a fresh one has no rank chosen."""

    submission: str = field(default_factory=lambda: str(uuid.uuid4()))
    supersedes: str = ""
    ranks: Mapping[str, str] = field(default_factory=dict)  # by the card's field
    all_bad: bool = False
    note: str = ""


def cards_of(assignment: AssignmentOut) -> list[Card]:
    ids: dict[str, list[uuid.UUID]] = {}
    for response in assignment.responses:
        ids.setdefault(response.text, []).append(response.id)
    return [Card(_label(number), text, tuple(keys)) for number, (text, keys) in enumerate(ids.items())]


def _label(number: int) -> str:
    """A to Z, then A2, B2, ..."""
    lap, letter = divmod(number, 26)
    return chr(ord("A") + letter) + (str(lap + 1) if lap else "")


@router.get("/annotate")
def annotate_page(project_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    project = projects.find_project(session, project_id)
    assignment = service.next_assignment(session, me, project)
    if assignment is None:
        return _page(request, session, me, project, None, Entered())
    return _page(request, session, me, project, service.show_assignment(session, assignment), Entered())


@router.get("/correct")
def correct_page(project_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    """The person's last answer in the project, to be changed."""
    project = projects.find_project(session, project_id)
    last = judgements.last_of(session, me, project.id)
    if last is None:
        return see_other(f"/projects/{project.id}/annotate")
    shown = service.show_assignment(session, service.find_assignment(session, me, last.assignment_id))
    return _page(request, session, me, project, shown, _entered_before(last, cards_of(shown)))


def _entered_before(last: Submission, cards: list[Card]) -> Entered:
    rank = {key: place for place, group in enumerate(last.payload["groups"], start=1) for key in group}
    return Entered(
        supersedes=str(last.id),
        ranks={card.field: str(rank[str(card.ids[0])]) for card in cards},
        all_bad=last.payload.get("all_bad", False),
        note=last.payload.get("note", ""),
    )


@router.post("/annotate")
def submit(project_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    """Store the ranking and go on; on an error the form comes back as it was, with the reason."""
    project = projects.find_project(session, project_id)
    assignment = service.find_assignment(session, me, _uuid(text_of(form, "assignment")))
    shown = service.show_assignment(session, assignment)
    entered = _read(form, cards_of(shown))
    try:
        feedback.submit(session, me, _submission(shown, entered))
    except ApiError as error:
        session.rollback()
        return _page(request, session, me, project, shown, entered, error)
    return see_other(f"/projects/{project.id}/annotate")


@router.post("/skip")
def skip(project_id: uuid.UUID, form: Form, session: Db, me: Me) -> Response:
    reason = text_of(form, "reason").strip()[:500] or "no reason given"
    service.skip(session, me, _uuid(text_of(form, "assignment")), reason)
    return see_other(f"/projects/{project_id}/annotate")


def _uuid(value: str) -> uuid.UUID:
    try:
        return uuid.UUID(value)
    except ValueError:
        raise ApiError(422, "invalid", "The form came without its task. Open the page again.") from None


def _read(form: FormData, cards: list[Card]) -> Entered:
    return Entered(
        submission=text_of(form, "submission"),
        supersedes=text_of(form, "supersedes"),
        ranks={card.field: text_of(form, card.field) for card in cards},
        all_bad=text_of(form, "all_bad") == "yes",
        note=text_of(form, "note").strip(),
    )


def _submission(shown: AssignmentOut, entered: Entered) -> NewSubmission:
    """Equal ranks become one group; gaps between ranks mean nothing."""
    cards = cards_of(shown)
    missing = [card.label for card in cards if not _is_rank(entered.ranks[card.field], len(cards))]
    if missing:
        raise ApiError(422, "invalid", f"Choose a rank for {', '.join(missing)}. Equal ranks are a tie.")
    groups: dict[int, list[uuid.UUID]] = {}
    for card in cards:
        groups.setdefault(int(entered.ranks[card.field]), []).extend(card.ids)
    payload: dict[str, Any] = {"groups": [groups[rank] for rank in sorted(groups)], "all_bad": entered.all_bad}
    body = {
        "id": entered.submission,
        "assignment": shown.assignment,
        "payload": payload | ({"note": entered.note} if entered.note else {}),
        "supersedes": entered.supersedes or None,
    }
    try:
        return NewSubmission.model_validate(body)
    except ValidationError as error:
        raise from_validation(error, NewSubmission) from None


def _is_rank(value: str, highest: int) -> bool:
    return value.isascii() and value.isdigit() and 1 <= int(value) <= highest


def _page(
    request: Request,
    session: Session,
    me: Person,
    project: Project,
    shown: AssignmentOut | None,
    entered: Entered,
    error: ApiError | None = None,
) -> Response:
    return render(
        request,
        "annotate.html",
        me,
        error.status if error else 200,
        project=project,
        shown=shown,
        cards=cards_of(shown) if shown else [],
        entered=entered,
        error=PLAIN_WORDS.get(error.slug, error.detail) if error else None,
        done_today=judgements.judged_today(session, me, project.id),
        left=queries.left_for(session, me, project.id),
        can_correct=judgements.last_of(session, me, project.id) is not None,
    )
