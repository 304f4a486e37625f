"""/v1/leaderboard."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query

from annotation_api.http.dependencies import READS_RUNS, Db, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.models.leaderboard import service
from annotation_api.models.leaderboard.schemas import Leaderboard

router = APIRouter(prefix="/v1", tags=["models"], route_class=DoorRoute)


@router.get("/leaderboard", dependencies=[allow(*READS_RUNS)])
def show_leaderboard(
    session: Db,
    project: Annotated[uuid.UUID | None, Query(description="Only comparisons made in it.")] = None,
    criterion: Annotated[str | None, Query(description="Only comparisons by it.", max_length=40)] = None,
    language: Annotated[str | None, Query(description="Only of prompts in it.", max_length=40)] = None,
    length: Annotated[bool, Query(description="Take out what length alone gains.")] = False,
) -> Leaderboard:
    """Model versions by strength, over all comparisons that people ever made of their responses."""
    return service.leaderboard(session, service.BoardFilter(project, criterion, language, length))
