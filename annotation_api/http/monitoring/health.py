"""Is the process up, and can it serve? For supervisors, compose and load balancers.

Annotators need the database only: a dispatcher or a Ray that is away makes the service degraded, not unready.
"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from alignment.shared.sentence import Sentence
from annotation_api.db import dispatchers
from annotation_api.db.migrate import is_current
from annotation_api.db.tables import RayState
from annotation_api.http.dependencies import get_sessions, public
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError

router = APIRouter(tags=["health"], dependencies=[public], route_class=DoorRoute)


class Health(BaseModel):
    status: str = "ok"


class Parts(BaseModel):
    database: Literal["ok"] = "ok"
    schema_: Literal["ok"] = Field(default="ok", alias="schema", description="The tables are of this version.")
    dispatcher: Literal["ok", "missing"] = Field(description="Whether one was seen within 30 seconds.")
    ray: RayState | Literal["unknown"] = Field(description="What the dispatchers know of it.")


class Readiness(BaseModel):
    status: Literal["ok", "degraded"] = Field(description="degraded: people can work, jobs wait.")
    parts: Parts


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz")
async def readyz(request: Request) -> Readiness:
    """The database answers and has this version's tables, and slots come free; else 503.

    What jobs need besides only degrades.
    """
    state = request.app.state
    async with state.claim_slots, state.slots:
        return await run_in_threadpool(_check, request)


def _check(request: Request) -> Readiness:
    if not is_current(request.app.state.engine):
        detail = Sentence(
            "other-schema",
            "The database has another schema version than this service. Run the migrations: `rankloop up` does.",
        )
        raise ApiError(503, "schema-version", detail, headers={"Retry-After": "5"})
    with get_sessions(request)() as session:
        states = {row.ray for row in dispatchers.alive(session)}
    parts = Parts(dispatcher="ok" if states else "missing", ray=_ray(states))
    degraded = not states or parts.ray is RayState.DOWN
    return Readiness(status="degraded" if degraded else "ok", parts=parts)


def _ray(states: set[RayState]) -> RayState | Literal["unknown"]:
    """One dispatcher whose Ray works is enough for jobs to run."""
    for state in (RayState.UP, RayState.LOCAL, RayState.UNUSED, RayState.DOWN):
        if state in states:
            return state
    return "unknown"
