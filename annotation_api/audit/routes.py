"""/v1/audit: who did what, and whether the record of it is whole."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.audit import queries, sealed
from annotation_api.audit.schemas import AuditRowOut, AuditVerdict
from annotation_api.db.audit import ledger, notes
from annotation_api.db.tables import AuditOutcome, Role
from annotation_api.http.dependencies import Config, Db, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import invalid
from annotation_api.http.pagination import Limit, NextPage, Page
from annotation_api.http.schemas import Moment

router = APIRouter(prefix="/v1", tags=["audit"], dependencies=[allow(Role.ADMIN)], route_class=DoorRoute)
Seq = Annotated[int | None, Query(ge=1, lt=2**63)]
Words = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.get("/audit")
def list_audit(
    session: Db,
    more: NextPage,
    person: uuid.UUID | None = None,
    action: Annotated[Words, Query(description="Part of the method and route, as `jobs`.")] = None,
    object: Annotated[Words, Query(description="The id of a thing in the path, or of what was made.")] = None,
    outcome: AuditOutcome | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: Limit = 100,
    cursor: Annotated[str | None, Query(pattern=r"^\d{1,18}$", description="`next` of the page before.")] = None,
) -> Page[AuditRowOut]:
    """Who did what, newest first."""
    wanted = queries.AuditFilter(person, action, object, outcome, since, until)
    found = queries.rows(session, wanted, limit + 1, int(cursor) if cursor else None)
    items = [AuditRowOut.model_validate(row) for row in found[:limit]]
    return more.page(items, str(items[-1].seq) if len(found) > limit else None)


@router.get("/audit:verify")
def verify_audit(
    session: Db,
    settings: Config,
    seq: Annotated[Seq, Query(description="A row that was noted earlier, with its seal.")] = None,
    sha256: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$")] = None,
) -> AuditVerdict:
    """Walk the whole chain; says which row is the first that was changed or taken out, if one was. What the service
    noted of it beside the database must agree, and the row that is given."""
    if (seq is None) != (sha256 is None):
        raise invalid(
            [
                Problem(
                    pointer="query:seq", message=Sentence("seq-with-sha", "Give seq and sha256 together, or neither.")
                )
            ]
        )
    given = [ledger.Noted(seq, sha256)] if seq is not None and sha256 is not None else []
    found = ledger.verify(session, *notes.newest(settings.home), *sealed.ends(settings.home), *given)
    return AuditVerdict(
        ok=found.broken is None, rows=found.rows, sha256=found.sha256, broken=found.broken, reason=found.reason
    )
