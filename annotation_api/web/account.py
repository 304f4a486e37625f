"""Pages to come in and go out: set-up, join, sign in, sign out; the own account, its keys and its looks."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from annotation_api import auth
from annotation_api.db.tables import Person
from annotation_api.dependencies import SIGNED_IN, Config, Db, MaybeMe, Me, allow, cookie_name, public
from annotation_api.doors import DoorRoute
from annotation_api.errors import ApiError, from_validation, record_refusal
from annotation_api.people import queries, service
from annotation_api.people.cookies import drop_cookie, knock_of, welcome
from annotation_api.people.schemas import NewApiKey, NewPassword, NewPerson
from annotation_api.quotas import Quota, spends
from annotation_api.scopes import remember
from annotation_api.settings import Settings
from annotation_api.web import language
from annotation_api.web.rendering import THEME_COOKIE, THEMES, local_path, read_form, render, see_other, text_of

router = APIRouter(route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]
YEAR = 365 * 24 * 3600


@router.get("/login", dependencies=[public])
def login_page(request: Request, me: MaybeMe, next: str = "/") -> Response:
    if me is not None:
        return see_other(local_path(next))
    return render(request, "login.html", None, next=local_path(next), email="", error=None)


@router.post("/login", dependencies=[public])
def login(request: Request, form: Form, session: Db, settings: Config) -> Response:
    email, target = text_of(form, "email"), local_path(text_of(form, "next"))
    try:
        person, token = service.sign_in(session, email, text_of(form, "password"), knock_of(request, settings))
    except ApiError as error:
        record_refusal(request, error)
        answer = render(request, "login.html", None, error.status, next=target, email=email, error=error.detail)
        answer.headers.update(error.headers)
        return answer
    remember(request, person)
    answer = see_other(target)
    welcome(request, answer, settings, person, token)
    return answer


@router.post("/logout", dependencies=[allow(*SIGNED_IN)])
def logout(request: Request, session: Db, settings: Config) -> Response:
    auth.end_session(session, request.cookies.get(cookie_name(settings), ""))
    answer = see_other("/login")
    drop_cookie(answer, settings)
    return answer


@router.get("/setup/{token}", dependencies=[public])
@router.get("/join/{token}", dependencies=[public])
def join_page(token: str, request: Request, session: Db) -> Response:
    invitation = service.look_up_invitation(session, token)
    return render(request, "join.html", None, role=invitation.role, values={}, error=None)


@router.post("/setup/{token}", dependencies=[public])
@router.post("/join/{token}", dependencies=[public])
def join(token: str, request: Request, form: Form, session: Db, settings: Config) -> Response:
    invitation = service.look_up_invitation(session, token)
    values = {name: text_of(form, name) for name in ("email", "name", "password")}
    try:
        person = service.accept(session, token, _new_person(values))
    except ApiError as error:
        kept = {"email": values["email"], "name": values["name"]}
        return render(request, "join.html", None, error.status, role=invitation.role, values=kept, error=error.detail)
    remember(request, person)
    answer = see_other("/")
    welcome(request, answer, settings, person, auth.start_session(session, person))
    return answer


LABELS = {"email": "E-mail", "name": "Name", "password": "Password"}
RULES = {
    "email": "give a full address, such as you@example.org",
    "name": "give the name that others should see",
    "password": "take at least 10 characters",
}


def _new_person(values: dict[str, str]) -> NewPerson:
    try:
        return NewPerson.model_validate(values)
    except ValidationError as error:
        fields = [str(item["loc"][0]) for item in error.errors()]
        detail = " ".join(f"{LABELS[field]}: {RULES[field]}." for field in fields)
        raise ApiError(422, "invalid", detail) from None


@router.post("/preferences", dependencies=[public])
def prefer(form: Form, me: MaybeMe, settings: Config) -> Response:
    """The language or the looks of the pages, for this browser; the language also for the person."""
    answer = see_other(local_path(text_of(form, "back")))
    words, theme = text_of(form, "language"), text_of(form, "theme")
    if words in language.LANGUAGES:
        _remember(answer, settings, language.COOKIE, words)
        if me is not None:
            me.language = words
    if theme in THEMES:
        _remember(answer, settings, THEME_COOKIE, theme)
    return answer


def _remember(answer: Response, settings: Settings, name: str, value: str) -> None:
    answer.set_cookie(name, value, max_age=YEAR, httponly=True, samesite="lax", secure=settings.tls)


@router.get("/account", dependencies=[allow(*SIGNED_IN)])
def account_page(request: Request, me: Me, changed: bool = False) -> Response:
    return render(request, "account.html", me, changed=changed, error=None)


@router.post("/account/password", dependencies=[allow(*SIGNED_IN)])
def change_password(request: Request, form: Form, session: Db, settings: Config, me: Me) -> Response:
    try:
        token = service.change_password(session, me, _new_password(form))
    except ApiError as error:
        return render(request, "account.html", me, error.status, changed=False, error=error.detail)
    answer = see_other("/account?changed=true")
    welcome(request, answer, settings, me, token)
    return answer


def _new_password(form: FormData) -> NewPassword:
    try:
        return NewPassword(current=text_of(form, "current"), new=text_of(form, "new"))
    except ValidationError:
        raise ApiError(422, "invalid", f"{LABELS['password']}: {RULES['password']}.") from None


@router.get("/keys", dependencies=[allow(*SIGNED_IN)])
def keys_page(request: Request, session: Db, me: Me) -> Response:
    return _keys(request, session, me)


@router.post("/keys", dependencies=[allow(*SIGNED_IN), spends(Quota.API_KEYS)])
def create_key(request: Request, form: Form, session: Db, me: Me) -> Response:
    try:
        new = NewApiKey(name=text_of(form, "name"))
    except ValidationError as error:
        return _keys(request, session, me, error=from_validation(error, NewApiKey).detail, status=422)
    _, key = service.add_api_key(session, me, new)
    return _keys(request, session, me, key=key)


@router.post("/keys/{key_id}/revoke", dependencies=[allow(*SIGNED_IN)])
def revoke_key(key_id: uuid.UUID, session: Db, me: Me) -> Response:
    service.revoke_api_key(session, me, key_id)
    return see_other("/keys")


def _keys(
    request: Request,
    session: Session,
    me: Person,
    *,
    key: str | None = None,
    error: str | None = None,
    status: int = 200,
) -> Response:
    keys = session.scalars(queries.keys_of(me)).all()
    keys = sorted(keys, key=lambda row: row.created_at, reverse=True)
    return render(request, "keys.html", me, status, keys=keys, key=key, error=error)
