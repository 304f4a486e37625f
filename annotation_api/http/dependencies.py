"""What a route may ask for: a session, the settings, the person; and the permission that it must declare.

    @router.get("/v1/jobs", dependencies=[allow(Role.ENGINEER, Role.ADMIN)])
    def list_jobs(session: Db, me: Me) -> ...

A route without a permission keeps the app from starting (entry/declared.py). All of it runs in the worker thread of the
request (entry/route.py), so what is `async` here asks the database directly and waits for nothing else.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.sentence import Sentence, either
from annotation_api.db.membership import see_as
from annotation_api.db.tables import Person, Role
from annotation_api.http import audit as recording
from annotation_api.http import key_scopes
from annotation_api.http.auth import Caller, Someone, holder_of_key, lock_caller, person_of_session
from annotation_api.http.errors import ApiError
from annotation_api.http.scopes import KEY, SAFE_METHODS, remember
from annotation_api.settings import Settings

SESSION = "rankloop.session"  # in the scope
SETTINGS = "settings"  # in the info of a request's session: those of the service that answers
CALLER = "rankloop.caller"  # who was let in by the route's permission


async def get_settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def get_sessions(request: Request) -> sessionmaker[Session]:
    """The factory, for the few (event streams) that outlive a request's transaction."""
    factory: sessionmaker[Session] = request.app.state.sessions
    return factory


async def get_session(request: Request) -> Session:
    """The request's one transaction, which its door opens and commits before the answer leaves."""
    session: Session = request.scope[SESSION]
    return session


def finish(session: Session, request: Request) -> None:
    """What was done and the row of the audit that says so are stored together, or neither is."""
    if recording.is_recorded(request):
        recording.commit(session, request)
    else:
        session.commit()


Db = Annotated[Session, Depends(get_session)]
Config = Annotated[Settings, Depends(get_settings)]


def cookie_name(settings: Settings) -> str:
    """`__Host-` binds the cookie to this host and to HTTPS; browsers refuse it without TLS."""
    return "__Host-rankloop" if settings.tls else "rankloop"


def bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def own_origin(request: Request, settings: Settings) -> None:
    """Refuse unsafe requests that another site made a browser send. Bearer keys are never sent by itself.

    A request with neither Sec-Fetch-Site nor Origin does not come from a browser.
    """
    if request.method in SAFE_METHODS or bearer(request):
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own_hosts = {request.headers.get("host", "").lower(), urlsplit(settings.public_url or "").netloc.lower()}
    if site:
        own = site in ("same-origin", "none")
    else:
        own = origin is None or (urlsplit(origin).netloc.lower() or None) in own_hosts
    if not own:
        raise ApiError(
            403,
            "cross-site",
            Sentence("cross-site", "This request came from another site. Open the page here and try again."),
        )


def _find_person(request: Request, session: Session, settings: Settings) -> Person | None:
    """The caller, if the key or cookie is good. A key that is given must be good."""
    key = bearer(request)
    if key is None:
        return signed_in(request, session, settings)
    person, found = holder_of_key(session, key) or _bad_key()
    key_scopes.check(request, found)
    request.scope[KEY] = found
    return _known(request, session, person)


def signed_in(request: Request, session: Session, settings: Settings) -> Person | None:
    """Whose cookie the browser sends, if it is good; without one nothing is asked."""
    token = request.cookies.get(cookie_name(settings))
    person = None if token is None else person_of_session(session, token, settings.idle)
    return None if person is None else _known(request, session, person)


def _known(request: Request, session: Session, person: Person) -> Person:
    remember(request, person)
    see_as(session, person.id, person.role)
    return person


def _bad_key() -> NoReturn:
    detail = Sentence(
        "bad-api-key", "This API key is unknown, expired or revoked. Make a new one on the page API keys."
    )
    raise ApiError(401, "bad-api-key", detail, headers={"WWW-Authenticate": "Bearer"})


def _nobody() -> NoReturn:
    detail = Sentence("sign-in", "Sign in, or send an API key in the header Authorization: Bearer rl_...")
    raise ApiError(401, "not-signed-in", detail, headers={"WWW-Authenticate": "Bearer"})


# What most routes depend on, and several times: each takes what it needs of the request itself, for FastAPI walks
# through all that a dependency depends on, also where it was solved before.
async def optional_person(request: Request) -> Person | None:
    """The caller, or None for nobody; 401 for a key that is not good."""
    if CALLER in request.scope:
        return cast(Person, request.scope[CALLER])
    settings: Settings = request.app.state.settings
    if bearer(request) is None and cookie_name(settings) not in request.cookies:
        return None
    return _find_person(request, request.scope[SESSION], settings)


MaybeMe = Annotated[Person | None, Depends(optional_person)]


async def current(request: Request) -> Person:
    """The caller; 401 for nobody."""
    return await optional_person(request) or _nobody()


Me = Annotated[Person, Depends(current)]


ROLE_NAMES = {
    Role.ANNOTATOR: Sentence("role-annotator", "annotator"),
    Role.REVIEWER: Sentence("role-reviewer", "reviewer"),
    Role.ENGINEER: Sentence("role-engineer", "engineer"),
    Role.ADMIN: Sentence("role-admin", "admin"),
}


@dataclass(frozen=True)
class Permission:
    """Lets the named roles through; the check that `allow` puts on a route."""

    roles: frozenset[Role]

    async def __call__(self, request: Request) -> Person:
        person = await current(request)
        self.check(person.role)
        self.check_factor(person, request.app.state.settings)
        return person

    def enter(self, request: Request, session: Session, settings: Settings) -> Person:
        person = _find_person(request, session, settings) or _nobody()
        self.check(person.role)
        self.check_factor(person, settings)
        return person

    def check_factor(self, person: Someone, settings: Settings) -> None:
        """Where admins need a second factor, one without it does what everybody may do, which is to set it up."""
        bare = person.role is Role.ADMIN and person.second_factor_at is None
        if bare and settings.admin_second_factor and self.roles != frozenset(Role):
            detail = Sentence(
                "second-factor-required", "Admins need a second factor here. Set yours up on the page of your account."
            )
            raise ApiError(403, "second-factor-required", detail)

    def check(self, role: Role) -> None:
        if role not in self.roles:
            wanted = (ROLE_NAMES[each] for each in Role if each in self.roles)
            text = "This needs the role %(wanted)s; yours is %(own)s."
            detail = Sentence("role-needed", text, wanted=either(wanted), own=ROLE_NAMES[role])
            raise ApiError(403, "forbidden", detail)


@dataclass(frozen=True)
class Alone:
    """As `Permission`, and holds the person's row: one such request of a person at a time (`allow_alone`)."""

    permission: Permission

    async def __call__(self, request: Request) -> Caller:
        return cast(Caller, request.scope[CALLER])

    def enter(self, request: Request, session: Session, settings: Settings) -> Caller:
        key, token = bearer(request), request.cookies.get(cookie_name(settings))
        found = lock_caller(session, key=key, token=token, idle=settings.idle)
        caller = found or (_nobody() if key is None else _bad_key())
        if caller.key is not None:
            key_scopes.check(request, caller.key)
        remember(request, caller)
        see_as(session, caller.id, caller.role)
        self.permission.check(caller.role)
        self.permission.check_factor(caller, settings)
        return caller


@dataclass(frozen=True)
class Scraper:
    """As `Permission`, and lets RANKLOOP_METRICS_TOKEN through, for which the database need not answer."""

    permission: Permission

    async def __call__(self, request: Request, settings: Config) -> None:
        given, token = bearer(request), settings.metrics_token
        if token and given and hmac.compare_digest(given.encode(), token.encode()):
            return
        with get_sessions(request)() as session:
            self.permission.enter(request, session, settings)


@dataclass(frozen=True)
class Public:
    """Lets everybody through, said aloud."""

    async def __call__(self) -> None:
        return None


def allow(*roles: Role) -> Any:
    """The permission of a route: `dependencies=[allow(Role.ADMIN)]`, or `me: Annotated[Person, allow(...)]`."""
    return Depends(Permission(frozenset(roles)))


def allow_alone(*roles: Role) -> Any:
    """For a route that claims or judges, as the parameter `me: Annotated[Caller, allow_alone(...)]`."""
    return Depends(Alone(Permission(frozenset(roles))))


def allow_metrics(*roles: Role) -> Any:
    """The permission of /metrics."""
    return Depends(Scraper(Permission(frozenset(roles))))


public: Any = Depends(Public())
SIGNED_IN = tuple(Role)
ANNOTATES = (Role.ANNOTATOR, Role.REVIEWER, Role.ADMIN)
REVIEWS = (Role.REVIEWER, Role.ADMIN)  # who judges answers must not know which model wrote what: engineers do
READS_RUNS = (Role.REVIEWER, Role.ENGINEER, Role.ADMIN)
ENGINEERS = (Role.ENGINEER, Role.ADMIN)
