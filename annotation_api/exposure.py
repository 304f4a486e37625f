"""What must be true before the service listens beyond this machine: there is an admin, and no sample password.

`rankloop up` looks before it listens. An API that is served by itself (`rankloop serve api`)
is not told where it listens, so there the first request that arrives at another address than loopback is looked
at, and refused while something is missing. In a container whose port is published on loopback only, as in
docker-compose.yml, every request arrives at another address: RANKLOOP_PUBLISHED_ON_LOOPBACK says that it is right.
"""

from __future__ import annotations

import ipaddress
import logging

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from alignment.shared.sentence import Sentence
from annotation_api.db.engine import DatabaseUnavailable
from annotation_api.http.errors import ApiError, database_problem
from annotation_api.people.queries import has_active_admin
from annotation_api.settings import Settings, sample_password

log = logging.getLogger("rankloop.api")
ALIVE = "/healthz"  # says nothing but that the process lives


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there; a name other than localhost may be anywhere."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def missing(session: Session, settings: Settings) -> str | None:
    """Why the service must not be reached from elsewhere yet; None if it may be."""
    if settings.published_on_loopback:
        return None
    if settings.database_url and sample_password(settings.database_url):
        return "the password in RANKLOOP_DATABASE_URL is a sample that anybody would try. Set another one first."
    if not has_active_admin(session):
        return "there is no admin yet. Start it on 127.0.0.1 first and open the set-up link."
    return None


class Exposure:
    """Refuses what arrives from beyond this machine, until nothing is missing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.fine, self.told = app, False, ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = None
        if scope["type"] == "http" and not self.fine and _from_beyond(scope):
            error = await run_in_threadpool(self._check, scope["app"].state)
        await (error.response() if error else self.app)(scope, receive, send)

    def _check(self, state: object) -> ApiError | None:
        settings: Settings = state.settings  # type: ignore[attr-defined]
        sessions: sessionmaker[Session] = state.sessions  # type: ignore[attr-defined]
        try:
            with sessions() as session:
                reason = missing(session, settings)
        except (DatabaseUnavailable, DBAPIError, PoolTimeout) as error:
            log.error("the database did not do it: %s", error)
            return database_problem(error)
        self.fine = reason is None
        return self._refusal(reason) if reason else None

    def _refusal(self, reason: str) -> ApiError:
        detail = Sentence(
            "not-open-to-machines", "This service is not open to other machines: %(reason)s", reason=reason
        )
        if self.told != detail:
            log.error(
                "%s If its port is only published on loopback, as in docker-compose.yml, set "
                "RANKLOOP_PUBLISHED_ON_LOOPBACK=true.",
                detail,
            )
        self.told = detail
        return ApiError(503, "not-open-yet", detail, headers={"Retry-After": "60"})


def _from_beyond(scope: Scope) -> bool:
    """Whether the request came to an address that other machines reach, too. A Unix socket has none."""
    if scope["path"] == ALIVE or not scope.get("server"):
        return False
    try:
        return not ipaddress.ip_address(scope["server"][0]).is_loopback
    except ValueError:  # a socket's path
        return False
