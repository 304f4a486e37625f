"""Is the process up, and can it serve? For supervisors, compose and load balancers."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from annotation_api.db.migrate import is_current
from annotation_api.dependencies import public
from annotation_api.errors import ApiError

router = APIRouter(tags=["health"], dependencies=[public])


class Health(BaseModel):
    status: str = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz")
async def readyz(request: Request) -> Health:
    """The database answers and has this version's tables; else 503."""
    if not await run_in_threadpool(is_current, request.app.state.engine):
        detail = "The database has another schema version than this service. Run the migrations: `rankloop up` does."
        raise ApiError(503, "schema-version", detail, headers={"Retry-After": "5"})
    return Health()
