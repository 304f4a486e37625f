"""/v1/erasures: content goes, hashes and counts stay, and what was made of it is marked. Nobody can undo it."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Response

from annotation_api.erasure import service
from annotation_api.erasure.schemas import ErasureList, ErasureOut, ErasurePlan, ErasureTarget, NewErasure
from annotation_api.http.dependencies import ENGINEERS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.idempotency import Once

router = APIRouter(prefix="/v1", tags=["erasure"], route_class=DoorRoute)


@router.post("/erasures:preview", dependencies=[allow(*ENGINEERS)])
def preview_erasure(body: ErasureTarget, session: Db, me: Me) -> ErasurePlan:
    """What an erasure would take: rows, snapshots and models; does nothing. Reads all that is frozen: some seconds."""
    return service.preview(session, me, body)


@router.post("/erasures", status_code=202, response_model=ErasureOut, dependencies=[allow(*ENGINEERS)])
def erase(body: NewErasure, session: Db, me: Me, once: Once) -> Response:
    """Erase a record, a person's answers or a project: an admin everywhere, who made a project in it.

    It goes on behind the answer; Location tells how far. 409 while a job reads what will go.
    """
    return once.run(
        lambda: ErasureOut.model_validate(service.ask(session, me, body)), status=202, location="/v1/erasures/{id}"
    )


@router.get("/erasures", dependencies=[allow(*ENGINEERS)])
def list_erasures(session: Db, me: Me) -> ErasureList:
    """What was erased and what is being erased, newest first."""
    return ErasureList(items=[ErasureOut.model_validate(row) for row in service.listed(session, me)])


@router.get("/erasures/{erasure_id}", dependencies=[allow(*ENGINEERS)])
def show_erasure(erasure_id: uuid.UUID, session: Db, me: Me) -> ErasureOut:
    """How far one is, and what it emptied."""
    return ErasureOut.model_validate(service.find(session, me, erasure_id))
