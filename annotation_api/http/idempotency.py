"""`Idempotency-Key`: a POST that creates may be sent twice and creates once.

    @router.post("/v1/projects", status_code=201, response_model=ProjectOut, dependencies=[allow(*ENGINEERS)])
    def create_project(body: NewProject, once: Once, ...) -> Response:
        return once.run(lambda: service.create(...), location="/v1/projects/{id}")

The answer is stored in the transaction of the work itself: neither can exist without the other, and a
crash leaves the key unused. The same key with another body is 422, while the first is in flight 409.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.responses import Response
from starlette.types import Scope

from alignment.shared.sentence import Sentence
from annotation_api.db.tables import AuditOutcome, IdempotencyKey
from annotation_api.http import audit as recording
from annotation_api.http.auth import Someone
from annotation_api.http.dependencies import SESSION, Me
from annotation_api.http.errors import ApiError

KEY = "Idempotency-Key"
Key = Annotated[str | None, Header(alias=KEY, min_length=1, max_length=255, description="Makes a retry safe.")]


@dataclass(frozen=True)
class Made:
    """An answer with its own status, for a route that may find what is asked for."""

    shown: BaseModel
    status: int
    location: str | None = None  # a pattern in place of the route's


@dataclass
class Idempotency:
    session: Session
    person: Someone
    key: str | None
    request: str  # method, path and body (uploads: add `content`)
    scope: Scope

    def run(
        self,
        make: Callable[[], BaseModel | Made],
        *,
        status: int = 201,
        location: str | None = None,
        content: str = "",
        secrets: tuple[str, ...] = (),
    ) -> Response:
        """Do the work once and answer; a repeat gets the stored answer without working again.

        `location` is a pattern over the answer's fields, `content` the hash of an uploaded file,
        `secrets` the fields that are shown once: a repeat has them as null.
        """
        if self.key is None:
            status, body, location = _made(make(), status, location)
            return self._noted(_answer(status, body, location))
        self._enter()
        digest = hashlib.sha256(f"{self.request}\n{content}".encode()).hexdigest()
        stored = self.session.get(IdempotencyKey, (self.person.id, self.key))
        if stored is not None:
            return self._replay(stored, digest)
        status, body, location = _made(make(), status, location)
        answer = _answer(status, body, location)
        self._store(digest, status, {**body, **dict.fromkeys(secrets)}, answer.headers.get("location"))
        return self._noted(answer)

    def _noted(self, answer: Response) -> Response:
        """What was made, for the audit."""
        if made := answer.headers.get("location"):
            self.scope[recording.OBJECTS] = {"made": made}
        return answer

    def _enter(self) -> None:
        """Hold the key for this transaction; whoever finds it held is told so instead of waiting."""
        lock = int.from_bytes(hashlib.sha256(f"{self.person.id}:{self.key}".encode()).digest()[:8], signed=True)
        if not self.session.scalar(select(func.pg_try_advisory_xact_lock(lock))):
            detail = Sentence(
                "first-still-running",
                "The first request with this Idempotency-Key is still running. Try again in a moment.",
            )
            raise ApiError(409, "idempotency-in-flight", detail, headers={"Retry-After": "1"})

    def _replay(self, stored: IdempotencyKey, digest: str) -> Response:
        if stored.request_hash != digest:
            detail = Sentence(
                "key-reused", "This Idempotency-Key came before with another request. Use a new key for a new request."
            )
            raise ApiError(422, "idempotency-key-reused", detail)
        self.scope[recording.OUTCOME] = AuditOutcome.REPLAYED
        return JSONResponse(stored.body, stored.status, {**stored.headers, "Idempotent-Replayed": "true"})

    def _store(self, digest: str, status: int, body: dict[str, Any], location: str | None) -> None:
        headers = {"Location": location} if location else {}
        self.session.add(
            IdempotencyKey(
                person_id=self.person.id,
                key=self.key,
                request_hash=digest,
                status=status,
                headers=headers,
                body=body,
            )
        )


def _made(made: BaseModel | Made, status: int, location: str | None) -> tuple[int, dict[str, Any], str | None]:
    """Status, body and the pattern of the place, of which an answer with its own status has the last word."""
    if isinstance(made, Made):
        return made.status, made.shown.model_dump(mode="json"), made.location or location
    return status, made.model_dump(mode="json"), location


def _answer(status: int, body: dict[str, Any], location: str | None) -> Response:
    headers = {"Location": location.format(**body)} if location else None
    return JSONResponse(body, status, headers)


async def idempotency(request: Request, person: Me, key: Key = None) -> Idempotency:
    """The helper of a creating route. An upload's body is not read here: its route passes `content`."""
    upload = request.headers.get("content-type", "").startswith("multipart/")
    return once_of(request, request.scope[SESSION], person, key, b"" if upload else await request.body())


def once_of(request: Request, session: Session, person: Someone, key: str | None, body: bytes) -> Idempotency:
    head = f"{request.method} {request.url.path}?{request.url.query}"
    return Idempotency(session, person, key, f"{head}\n{hashlib.sha256(body).hexdigest()}", request.scope)


Once = Annotated[Idempotency, Depends(idempotency)]
