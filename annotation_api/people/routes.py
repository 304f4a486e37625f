"""/v1/session, /v1/me, /v1/people, /v1/invitations, /v1/api-keys."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request, Response

from annotation_api import auth
from annotation_api.db.tables import ApiKey, Person, Role
from annotation_api.dependencies import SIGNED_IN, Config, Db, Me, allow, cookie_name, public
from annotation_api.doors import DoorRoute
from annotation_api.idempotency import Once
from annotation_api.pagination import Cursor, Limit, Page, fetch_page
from annotation_api.people import queries, service
from annotation_api.people.cookies import drop_cookie, knock_of, welcome
from annotation_api.people.schemas import (
    ApiKeyCreated,
    ApiKeyOut,
    InvitationOut,
    NewApiKey,
    NewInvitation,
    NewPassword,
    NewPerson,
    OpenInvitation,
    PersonChange,
    PersonOut,
    SignIn,
)
from annotation_api.quotas import Quota, spends
from annotation_api.scopes import remember
from annotation_api.settings import Settings

router = APIRouter(prefix="/v1", tags=["people"], route_class=DoorRoute)


def join_url(request: Request, settings: Settings, token: str) -> str:
    base = settings.public_url or str(request.base_url).rstrip("/")
    return f"{base}/join/{token}"


@router.post("/session", status_code=204, dependencies=[public])
def sign_in(body: SignIn, request: Request, response: Response, session: Db, settings: Config) -> None:
    """Sign in with e-mail and password; the answer sets the session cookie."""
    person, token = service.sign_in(session, body.email, body.password, knock_of(request, settings))
    remember(request, person)
    welcome(request, response, settings, person, token)


@router.delete("/session", status_code=204, dependencies=[allow(*SIGNED_IN)])
def sign_out(request: Request, response: Response, session: Db, settings: Config) -> None:
    """End the session of the cookie."""
    auth.end_session(session, request.cookies.get(cookie_name(settings), ""))
    drop_cookie(response, settings)


@router.get("/me", dependencies=[allow(*SIGNED_IN)])
def show_me(me: Me) -> PersonOut:
    """The person who is calling."""
    return PersonOut.model_validate(me)


@router.post("/me:password", status_code=204, dependencies=[allow(*SIGNED_IN)])
def change_password(
    body: NewPassword, request: Request, response: Response, session: Db, settings: Config, me: Me
) -> None:
    """Change the own password. Every other session ends; the answer sets a fresh cookie."""
    welcome(request, response, settings, me, service.change_password(session, me, body))


@router.get("/people", dependencies=[allow(Role.ADMIN)])
def list_people(session: Db, limit: Limit = 100, cursor: Cursor = None) -> Page[PersonOut]:
    """Everybody, newest first."""
    items, after = fetch_page(session, queries.people(), Person, PersonOut.model_validate, limit=limit, cursor=cursor)
    return Page(items=items, next=after)


@router.patch("/people/{person_id}", dependencies=[allow(Role.ADMIN)])
def change_person(person_id: uuid.UUID, body: PersonChange, session: Db) -> PersonOut:
    """Give another role, retire (`active: false`) or bring back. People are never deleted."""
    return PersonOut.model_validate(service.change_person(session, person_id, body))


@router.get("/people/{person_id}", dependencies=[allow(Role.ADMIN)])
def show_person(person_id: uuid.UUID, session: Db) -> PersonOut:
    return PersonOut.model_validate(service.find_person(session, person_id))


@router.post("/people/{person_id}:erase", dependencies=[allow(Role.ADMIN)])
def erase_person(person_id: uuid.UUID, session: Db) -> PersonOut:
    """Take name, address, password, sessions and keys away, for good; pseudonym and work stay."""
    return PersonOut.model_validate(service.erase(session, person_id))


@router.get("/invitations", dependencies=[allow(Role.ADMIN)])
def list_invitations(session: Db) -> Page[OpenInvitation]:
    """Links that were neither used nor withdrawn and still work, newest first; never the links themselves."""
    return Page(items=[OpenInvitation.model_validate(row) for row in queries.open_invitations(session)])


@router.delete("/invitations/{invitation_id}", status_code=204, dependencies=[allow(Role.ADMIN)])
def withdraw_invitation(invitation_id: str, session: Db) -> None:
    """End an open invitation; its link stops working."""
    service.withdraw(session, invitation_id)


@router.post("/invitations", status_code=201, response_model=InvitationOut, dependencies=[allow(Role.ADMIN)])
def create_invitation(body: NewInvitation, request: Request, session: Db, settings: Config, once: Once) -> Response:
    """A link that makes one person of the role; it works once, for 7 days."""

    def make() -> InvitationOut:
        token, row = service.invite(session, body.role)
        url = join_url(request, settings, token)
        return InvitationOut(token=token, url=url, role=row.role, expires_at=row.expires_at)

    return once.run(make, secrets=("token", "url"))


@router.post("/invitations/{token}:accept", status_code=201, dependencies=[public])
def accept_invitation(
    token: str, body: NewPerson, request: Request, response: Response, session: Db, settings: Config
) -> PersonOut:
    """Make the account that a link offers and sign it in."""
    person = service.accept(session, token, body)
    remember(request, person)
    welcome(request, response, settings, person, auth.start_session(session, person))
    return PersonOut.model_validate(person)


@router.post(
    "/api-keys",
    status_code=201,
    response_model=ApiKeyCreated,
    dependencies=[allow(*SIGNED_IN), spends(Quota.API_KEYS)],
)
def create_api_key(body: NewApiKey, session: Db, me: Me, once: Once) -> Response:
    """A key with the caller's role. The key itself is in this answer only."""

    def make() -> ApiKeyCreated:
        row, key = service.add_api_key(session, me, body)
        return ApiKeyCreated(**ApiKeyOut.model_validate(row).model_dump(), key=key)

    return once.run(make, location="/v1/api-keys/{id}", secrets=("key",))


@router.get("/api-keys", dependencies=[allow(*SIGNED_IN)])
def list_api_keys(session: Db, me: Me, limit: Limit = 100, cursor: Cursor = None) -> Page[ApiKeyOut]:
    """The caller's keys, newest first; never the keys themselves."""
    items, after = fetch_page(
        session, queries.keys_of(me), ApiKey, ApiKeyOut.model_validate, limit=limit, cursor=cursor
    )
    return Page(items=items, next=after)


@router.get("/api-keys/{key_id}", dependencies=[allow(*SIGNED_IN)])
def show_api_key(key_id: uuid.UUID, session: Db, me: Me) -> ApiKeyOut:
    return ApiKeyOut.model_validate(service.find_api_key(session, me, key_id))


@router.delete("/api-keys/{key_id}", status_code=204, dependencies=[allow(*SIGNED_IN)])
def revoke_api_key(key_id: uuid.UUID, session: Db, me: Me) -> None:
    """End a key at once; an admin may end anybody's."""
    service.revoke_api_key(session, me, key_id)
