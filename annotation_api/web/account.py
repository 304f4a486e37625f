"""Pages to come in and go out: set-up, join, sign in, sign out; the own account, its keys and its looks."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated

import segno
from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from annotation_api.db.tables import ApiKey, MadeFrom, Person
from annotation_api.http import audit as recording
from annotation_api.http import auth
from annotation_api.http.dependencies import SIGNED_IN, Config, Db, MaybeMe, Me, allow, cookie_name, public
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError, from_validation, record_refusal
from annotation_api.http.key_scopes import Scope
from annotation_api.http.quotas import Quota, spends
from annotation_api.http.scopes import remember
from annotation_api.people import keys, passwords, queries, second_factor, service, tries
from annotation_api.people.cookies import drop_cookie, knock_of, welcome
from annotation_api.people.schemas import NewApiKey, NewPassword, NewPerson
from annotation_api.settings import Settings
from annotation_api.web.markup import language
from annotation_api.web.markup.rendering import THEME_COOKIE, THEMES, local_path, read_form, render, see_other, text_of

router = APIRouter(route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]
YEAR = 365 * 24 * 3600


@router.get("/login", dependencies=[public])
def login_page(request: Request, session: Db, me: MaybeMe, next: str = "/") -> Response:
    """Before anybody is an admin there is nobody to ask: it says where the set-up link is."""
    if me is not None:
        return see_other(local_path(next))
    fresh = not queries.has_active_admin(session)
    return render(request, "login.html", None, next=local_path(next), email="", error=None, fresh=fresh)


@router.post("/login", dependencies=[public])
def login(request: Request, form: Form, session: Db, settings: Config) -> Response:
    email, target = text_of(form, "email"), local_path(text_of(form, "next"))
    try:
        person = service.check_password(session, email, text_of(form, "password"), knock_of(request, settings))
    except ApiError as error:
        record_refusal(request, error)
        return _refused(request, "login.html", error, next=target, email=email, fresh=False)
    if person.second_factor_at is not None:
        recording.nothing_done(request)
        return render(request, "code.html", None, next=target, passed=tries.password_given(person), error=None)
    return _come_in(request, session, settings, person, target)


@router.post("/login/code", dependencies=[public])
def login_with_code(request: Request, form: Form, session: Db, settings: Config) -> Response:
    """The second step, within minutes of the first."""
    passed, target = text_of(form, "passed"), local_path(text_of(form, "next"))
    person = service.whose_password(session, passed)
    if person is None:
        recording.nothing_done(request)
        return see_other("/login")
    try:
        second_factor.check(session, person, text_of(form, "code"), knock_of(request, settings))
    except ApiError as error:
        record_refusal(request, error)
        return _refused(request, "code.html", error, next=target, passed=passed)
    return _come_in(request, session, settings, person, target)


def _refused(request: Request, template: str, error: ApiError, **context: object) -> Response:
    answer = render(request, template, None, error.status, error=error.detail, **context)
    answer.headers.update(error.headers)
    return answer


def _come_in(request: Request, session: Session, settings: Settings, person: Person, target: str) -> Response:
    token = service.come_in(session, person)
    remember(request, person)
    auth.end_session(session, request.cookies.get(cookie_name(settings), ""))  # the one before, if there was one
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


RULES = {
    "email": Sentence("rule-email", "E-mail: give a full address, such as you@example.org."),
    "name": Sentence("rule-name", "Name: give the name that others should see."),
    "password": Sentence("rule-password", "Password: take at least 10 characters."),
}


def _new_person(values: dict[str, str]) -> NewPerson:
    try:
        return NewPerson.model_validate(values)
    except ValidationError as error:
        detail, *others = [RULES[str(item["loc"][0])] for item in error.errors()]
        for rule in others:
            detail = Sentence("then", "%(first)s %(then)s", first=detail, then=rule)
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


@router.get("/reset/{token}", dependencies=[public])
def reset_page(token: str, request: Request, session: Db) -> Response:
    return render(request, "reset.html", None, person=service.find_reset(session, token), error=None)


@router.post("/reset/{token}", dependencies=[public])
def reset(token: str, request: Request, form: Form, session: Db) -> Response:
    person = service.find_reset(session, token)
    try:
        remember(request, service.reset_password(session, token, _long_enough(text_of(form, "password"))))
    except ApiError as error:
        return render(request, "reset.html", None, error.status, person=person, error=error.detail)
    return see_other("/login")


@router.get("/account", dependencies=[allow(*SIGNED_IN)])
def account_page(request: Request, session: Db, me: Me, changed: bool = False) -> Response:
    return _account(request, session, me, changed=changed)


def _account(
    request: Request, session: Session, me: Person, *, changed: bool = False, error: ApiError | None = None
) -> Response:
    keys = queries.live_keys(session, me) if changed else []
    status, detail = (error.status, error.detail) if error else (200, None)
    return render(request, "account.html", me, status, changed=changed, error=detail, keys=keys)


@router.get("/account/second-factor", dependencies=[allow(*SIGNED_IN)])
def second_factor_page(request: Request, me: Me) -> Response:
    return _factor(request, me)


def _factor(
    request: Request, me: Person, *, error: ApiError | None = None, codes: Sequence[str] = (), begun: bool = False
) -> Response:
    """`begun`: one is being set up; `codes`: the recovery codes of one that just was."""
    uri = second_factor.uri_of(me) if begun and me.totp_secret and me.second_factor_at is None else None
    return render(
        request,
        "second_factor.html",
        me,
        error.status if error else 200,
        error=error.detail if error else None,
        codes=codes,
        uri=uri,
        picture=segno.make(uri).svg_data_uri(scale=5, light="#fff") if uri else None,
        secret=me.totp_secret if uri else None,
    )


@router.post("/account/second-factor", dependencies=[allow(*SIGNED_IN)])
def begin_second_factor(request: Request, form: Form, session: Db, me: Me) -> Response:
    try:
        service.again(session, me, text_of(form, "password"))
        second_factor.begin(session, me)
    except ApiError as error:
        return _factor(request, me, error=error)
    return _factor(request, me, begun=True)


@router.post("/account/second-factor/confirm", dependencies=[allow(*SIGNED_IN)])
def confirm_second_factor(request: Request, form: Form, session: Db, me: Me) -> Response:
    try:
        codes = second_factor.confirm(session, me, text_of(form, "code"))
    except ApiError as error:
        return _factor(request, me, error=error, begun=True)
    return _factor(request, me, codes=codes)


@router.post("/account/second-factor/remove", dependencies=[allow(*SIGNED_IN)])
def remove_second_factor(request: Request, form: Form, session: Db, me: Me) -> Response:
    try:
        service.again(session, me, text_of(form, "password"))
    except ApiError as error:
        return _factor(request, me, error=error)
    second_factor.remove(session, me)
    return see_other("/account/second-factor")


@router.post("/account/password", dependencies=[allow(*SIGNED_IN)])
def change_password(request: Request, form: Form, session: Db, settings: Config, me: Me) -> Response:
    try:
        token = service.change_password(session, me, _new_password(form))
    except ApiError as error:
        return _account(request, session, me, error=error)
    answer = see_other("/account?changed=true")
    welcome(request, answer, settings, me, token)
    return answer


def _new_password(form: FormData) -> NewPassword:
    return NewPassword(current=text_of(form, "current")[: passwords.MAX], new=_long_enough(text_of(form, "new")))


def _long_enough(password: str) -> str:
    if not passwords.MIN <= len(password) <= passwords.MAX:
        raise ApiError(422, "invalid", RULES["password"])
    return password


@router.get("/keys", dependencies=[allow(*SIGNED_IN)])
def keys_page(request: Request, session: Db, me: Me) -> Response:
    return _keys(request, session, me)


@router.post("/keys", dependencies=[allow(*SIGNED_IN), spends(Quota.API_KEYS)])
def create_key(request: Request, form: Form, session: Db, me: Me) -> Response:
    try:
        new = NewApiKey.model_validate({"name": text_of(form, "name")} | _limits_of(form))
    except ValidationError as error:
        return _keys(request, session, me, error=from_validation(error, NewApiKey).detail, status=422)
    _, key = keys.add_api_key(session, me, new, MadeFrom.SESSION)
    return _keys(request, session, me, key=key)


def _limits_of(form: FormData) -> dict[str, object]:
    """Scopes and days, where they were chosen."""
    scopes, days = [str(value) for value in form.getlist("scope")], text_of(form, "days")
    return ({"scopes": scopes} if scopes else {}) | ({"expires_in_days": days} if days else {})


@router.post("/keys/{key_id}/revoke", dependencies=[allow(*SIGNED_IN)])
def revoke_key(key_id: uuid.UUID, session: Db, me: Me) -> Response:
    keys.revoke(session, me, key_id)
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
    rows = session.scalars(queries.keys_of(me).order_by(ApiKey.created_at.desc())).all()
    return render(request, "keys.html", me, status, keys=rows, key=key, scopes=list(Scope), error=error)
