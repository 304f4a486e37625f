"""/v1/session, /v1/me, /v1/people, /v1/invitations, /v1/api-keys."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request, Response

from annotation_api.db.tables import ApiKey, MadeFrom, Person, Role
from annotation_api.http import auth
from annotation_api.http.dependencies import SIGNED_IN, Config, Db, Me, allow, cookie_name, public
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.idempotency import Once
from annotation_api.http.pagination import Cursor, Limit, NextPage, Page, fetch_page
from annotation_api.http.quotas import Quota, spends
from annotation_api.http.scopes import KEY, remember
from annotation_api.people import keys, queries, second_factor, service
from annotation_api.people.cookies import drop_cookie, knock_of, welcome
from annotation_api.people.schemas import (
    ApiKeyCreated,
    ApiKeyOut,
    InvitationOut,
    NewApiKey,
    NewInvitation,
    NewPassword,
    NewPerson,
    NewSecondFactor,
    OpenInvitation,
    OwnCode,
    OwnPassword,
    PersonChange,
    PersonOut,
    RecoveryCodes,
    ResetLink,
    ResetPassword,
    SignIn,
)
from annotation_api.settings import Settings

router = APIRouter(prefix="/v1", tags=["people"], route_class=DoorRoute)


def join_url(request: Request, settings: Settings, token: str) -> str:
    base = settings.public_url or str(request.base_url).rstrip("/")
    return f"{base}/join/{token}"


def reset_url(request: Request, settings: Settings, token: str) -> str:
    base = settings.public_url or str(request.base_url).rstrip("/")
    return f"{base}/reset/{token}"


@router.post("/session", status_code=204, dependencies=[public])
def sign_in(body: SignIn, request: Request, response: Response, session: Db, settings: Config) -> None:
    """Sign in with e-mail and password, and a code where there is a second factor; sets the session cookie."""
    person, token = service.sign_in(session, body.email, body.password, knock_of(request, settings), body.code)
    remember(request, person)
    auth.end_session(session, request.cookies.get(cookie_name(settings), ""))  # the one before, if there was one
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


@router.post("/me/second-factor", dependencies=[allow(*SIGNED_IN)])
def begin_second_factor(body: OwnPassword, session: Db, me: Me) -> NewSecondFactor:
    """Make a secret for an authenticator app. It counts once :confirm got a code of it."""
    service.again(session, me, body.password)
    return NewSecondFactor(uri=second_factor.begin(session, me))


@router.post("/me/second-factor:confirm", dependencies=[allow(*SIGNED_IN)])
def confirm_second_factor(body: OwnCode, session: Db, me: Me) -> RecoveryCodes:
    """Switch the second factor on; the answer has the recovery codes."""
    return RecoveryCodes(recovery_codes=second_factor.confirm(session, me, body.code))


@router.post("/me/second-factor:remove", status_code=204, dependencies=[allow(*SIGNED_IN)])
def remove_second_factor(body: OwnPassword, session: Db, me: Me) -> None:
    """Switch the second factor off."""
    service.again(session, me, body.password)
    second_factor.remove(session, me)


@router.get("/people", dependencies=[allow(Role.ADMIN)])
def list_people(session: Db, more: NextPage, limit: Limit = 100, cursor: Cursor = None) -> Page[PersonOut]:
    """Everybody, newest first."""
    items, after = fetch_page(session, queries.people(), Person, PersonOut.model_validate, limit=limit, cursor=cursor)
    return more.page(items, after)


@router.patch("/people/{person_id}", dependencies=[allow(Role.ADMIN)])
def change_person(person_id: uuid.UUID, body: PersonChange, session: Db) -> PersonOut:
    """Give another role, retire (`active: false`) or bring back. People are never deleted."""
    return PersonOut.model_validate(service.change_person(session, person_id, body))


@router.get("/people/{person_id}", dependencies=[allow(Role.ADMIN)])
def show_person(person_id: uuid.UUID, session: Db) -> PersonOut:
    return PersonOut.model_validate(service.find_person(session, person_id))


@router.post("/people/{person_id}:reset-password", dependencies=[allow(Role.ADMIN)])
def reset_password(person_id: uuid.UUID, request: Request, session: Db, settings: Config) -> ResetLink:
    """A link with which the person sets a new password; it works once, for 24 hours."""
    token, reset = service.begin_reset(session, service.find_person(session, person_id))
    return ResetLink(token=token, url=reset_url(request, settings, token), expires_at=reset.expires_at)


@router.post("/people/{person_id}:unlock", status_code=204, dependencies=[allow(Role.ADMIN)])
def unlock_person(person_id: uuid.UUID, session: Db) -> None:
    """Forget all wrong tries at the account, so that nobody has to wait for them."""
    service.unlock(session, service.find_person(session, person_id))


@router.post("/people/{person_id}:remove-second-factor", status_code=204, dependencies=[allow(Role.ADMIN)])
def remove_anothers_second_factor(person_id: uuid.UUID, session: Db) -> None:
    """For somebody who lost the app and the recovery codes."""
    second_factor.remove(session, service.find_person(session, person_id))


@router.post("/resets/{token}:accept", status_code=204, dependencies=[public])
def accept_reset(token: str, body: ResetPassword, request: Request, session: Db) -> None:
    """Set the password that a link offers to set. Every session of the person ends; sign in with the new one."""
    remember(request, service.reset_password(session, token, body.password))


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
        token, row = service.invite(session, body.role, note=body.note or None)
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
def create_api_key(body: NewApiKey, request: Request, session: Db, me: Me, once: Once) -> Response:
    """A key with the caller's role. The key itself is in this answer only. What is made by means of a key ends with
    it, and may do no more."""
    parent = request.scope.get(KEY)

    def make() -> ApiKeyCreated:
        row, key = keys.add_api_key(session, me, body, MadeFrom.KEY if parent else MadeFrom.SESSION, parent)
        return ApiKeyCreated(**ApiKeyOut.model_validate(row).model_dump(), key=key)

    return once.run(make, location="/v1/api-keys/{id}", secrets=("key",))


@router.get("/api-keys", dependencies=[allow(*SIGNED_IN)])
def list_api_keys(session: Db, more: NextPage, me: Me, limit: Limit = 100, cursor: Cursor = None) -> Page[ApiKeyOut]:
    """The caller's keys, newest first; never the keys themselves."""
    items, after = fetch_page(
        session, queries.keys_of(me), ApiKey, ApiKeyOut.model_validate, limit=limit, cursor=cursor
    )
    return more.page(items, after)


@router.get("/api-keys/{key_id}", dependencies=[allow(*SIGNED_IN)])
def show_api_key(key_id: uuid.UUID, session: Db, me: Me) -> ApiKeyOut:
    return ApiKeyOut.model_validate(keys.find(session, me, key_id))


@router.delete("/api-keys/{key_id}", status_code=204, dependencies=[allow(*SIGNED_IN)])
def revoke_api_key(key_id: uuid.UUID, session: Db, me: Me) -> None:
    """End a key at once, with all that were made by means of it; an admin may end anybody's."""
    keys.revoke(session, me, key_id)
