"""How much a person may ask for in an hour: jobs, uploads, API keys.

    @router.post("/jobs", dependencies=[allow(*ENGINEERS), spends(Quota.JOBS)])

A request is counted when it is asked, whatever becomes of it, and the count is stored before the work begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from annotation_api.db import limits
from annotation_api.http.auth import Someone
from annotation_api.http.dependencies import SESSION, current
from annotation_api.http.errors import ApiError
from annotation_api.settings import Settings

HOUR = 3600


class Quota(StrEnum):
    """What is counted; the value is the name of its setting."""

    JOBS = "jobs_per_hour"
    UPLOADS = "uploads_per_hour"
    UPLOAD_BYTES = "upload_bytes_per_hour"
    API_KEYS = "api_keys_per_hour"


WORDS = {
    Quota.JOBS: Sentence("jobs-queued", "jobs queued"),
    Quota.UPLOADS: Sentence("files-uploaded", "files uploaded"),
    Quota.UPLOAD_BYTES: Sentence("bytes-uploaded", "bytes uploaded"),
    Quota.API_KEYS: Sentence("keys-made", "API keys made"),
}


@dataclass(frozen=True)
class Spends:
    """Counts an amount against the caller's quota; 429 beyond it."""

    quota: Quota
    amount: int

    async def __call__(self, request: Request) -> None:
        me = await current(request)
        _spend(request.scope[SESSION], request.app.state.settings, str(me.id), {self.quota: self.amount})


def spend_upload(session: Session, settings: Settings, me: Someone, size: int) -> None:
    """Count a file and its bytes before it comes."""
    _spend(session, settings, str(me.id), {Quota.UPLOADS: 1, Quota.UPLOAD_BYTES: size})


def spend_bytes(session: Session, settings: Settings, me: Someone, size: int) -> None:
    """Count a part of an upload, which was counted itself when it began, before it comes."""
    _spend(session, settings, str(me.id), {Quota.UPLOAD_BYTES: size})


def _spend(session: Session, settings: Settings, person: str, uses: dict[Quota, int]) -> None:
    named = {f"{quota.value} {person}": quota for quota in uses}
    asked = [limits.Use(key, getattr(settings, quota), HOUR, uses[quota]) for key, quota in named.items()]
    if exceeded := limits.spend(session, asked):
        raise _refusal(named[exceeded.use.key], exceeded)


def _refusal(quota: Quota, exceeded: limits.Exceeded) -> ApiError:
    minutes = -(-exceeded.wait // 60)
    wait = Sentence("minutes", "%(n)s minutes" if minutes > 1 else "%(n)s minute", n=minutes)
    detail = Sentence(
        "quota-reached",
        "The limit of %(most)s %(what)s in an hour is reached. Try again in %(wait)s, or ask an admin to raise "
        "%(name)s.",
        most=exceeded.use.most,
        what=WORDS[quota],
        wait=wait,
        name=f"RANKLOOP_{quota.upper()}",
    )
    return ApiError(429, "quota-reached", detail, headers={"Retry-After": str(exceeded.wait)})


def spends(quota: Quota, amount: int = 1) -> Any:
    return Depends(Spends(quota, amount))
