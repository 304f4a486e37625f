"""The page on which admins read who did what."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from annotation_api.audit import queries, sealed
from annotation_api.db.audit import ledger, notes
from annotation_api.db.tables import AuditOutcome, Role
from annotation_api.http.dependencies import Config, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.settings import Settings
from annotation_api.web.markup.fields import LEFT_EMPTY, ChosenId, Words
from annotation_api.web.markup.rendering import render

PAGE = 50
router = APIRouter(prefix="/audit", dependencies=[allow(Role.ADMIN)], route_class=DoorRoute)
Outcome = Annotated[AuditOutcome | None, LEFT_EMPTY]
Seq = Annotated[int | None, Query(ge=1, lt=2**63)]


@router.get("")
def audit_page(
    request: Request,
    session: Db,
    settings: Config,
    me: Me,
    person: ChosenId = None,
    action: Words = "",
    object: Words = "",
    outcome: Outcome = None,
    before: Seq = None,
    verify: bool = False,
) -> Response:
    wanted = queries.AuditFilter(person, action.strip(), object.strip(), outcome)
    found = queries.rows(session, wanted, PAGE + 1, before)
    return render(
        request,
        "audit.html",
        me,
        rows=found[:PAGE],
        next=found[PAGE - 1].seq if len(found) > PAGE else None,
        kept=_kept(wanted),
        wanted=wanted,
        outcomes=list(AuditOutcome),
        verdict=_verdict(session, settings) if verify else None,
    )


def _verdict(session: Session, settings: Settings) -> ledger.ChainCheck:
    """Held against what was noted beside the database."""
    return ledger.verify(session, *notes.newest(settings.home), *sealed.ends(settings.home))


def _kept(wanted: queries.AuditFilter) -> str:
    """What was searched for, for the address of the next page."""
    return "".join(f"&{urlencode({name: value})}" for name, value in vars(wanted).items() if value)
