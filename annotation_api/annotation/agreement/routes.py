"""/v1/projects/{id}/agreement."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query

from annotation_api.annotation.agreement import service, trust
from annotation_api.annotation.agreement.schemas import AgreementOut, TrustOut
from annotation_api.annotation.projects.service import find_project
from annotation_api.db.kinds import Slice
from annotation_api.http.dependencies import READS_RUNS, Db, allow
from annotation_api.http.entry.route import DoorRoute

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["annotation"], route_class=DoorRoute)


@router.get("/agreement", dependencies=[allow(*READS_RUNS)])
def show_agreement(
    project_id: uuid.UUID,
    session: Db,
    by: Annotated[Slice, Query(description="How the judgements are divided; `all`: not at all.")] = Slice.ALL,
) -> AgreementOut:
    """How far the people of a project agree, on what was judged up to now."""
    return service.agreement_of(session, find_project(session, project_id), [by])


@router.get("/reliability", dependencies=[allow(*READS_RUNS)])
def show_reliability(project_id: uuid.UUID, session: Db) -> TrustOut:
    """How much to trust whom, by what was judged last; nobody needs to know what is right."""
    return trust.trust_of(session, find_project(session, project_id))
