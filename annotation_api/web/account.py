"""Pages to come in and go out: set-up, join, sign in, sign out; people and API keys."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from annotation_api import auth
from annotation_api.db.tables import Person, Role
from annotation_api.dependencies import SIGNED_IN, Config, Db, MaybeMe, Me, allow, cookie_name, public
from annotation_api.errors import ApiError, from_validation
from annotation_api.people import queries, service
from annotation_api.people.routes import address_of, drop_cookie, join_url, set_cookie
from annotation_api.people.schemas import NewApiKey, NewPerson, PersonChange
from annotation_api.web.rendering import local_path, read_form, render, see_other, text_of

router = APIRouter()
Form = Annotated[FormData, Depends(read_form)]


@router.get("/login", dependencies=[public])
def login_page(request: Request, me: MaybeMe, next: str = "/") -> Response:
    if me is not None:
        return see_other(local_path(next))
    return render(request, "login.html", None, next=local_path(next), email="", error=None)


@router.post("/login", dependencies=[public])
def login(request: Request, form: Form, session: Db, settings: Config) -> Response:
    email, target = text_of(form, "email"), local_path(text_of(form, "next"))
    try:
        token = service.sign_in(
            session, request.app.state.throttle, email, text_of(form, "password"), address_of(request)
        )
    except ApiError as error:
        answer = render(request, "login.html", None, error.status, next=target, email=email, error=error.detail)
        answer.headers.update(error.headers)
        return answer
    answer = see_other(target)
    set_cookie(answer, settings, token)
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
    answer = see_other("/")
    set_cookie(answer, settings, auth.start_session(session, person))
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


@router.get("/people")
def people_page(request: Request, session: Db, me: Annotated[Person, allow(Role.ADMIN)]) -> Response:
    return _people(request, session, me)


@router.post("/people")
def invite(
    request: Request, form: Form, session: Db, settings: Config, me: Annotated[Person, allow(Role.ADMIN)]
) -> Response:
    token, invitation = service.invite(session, _role(text_of(form, "role")))
    return _people(request, session, me, link=join_url(request, settings, token), role=invitation.role)


@router.post("/people/{person_id}")
def change_person(
    person_id: uuid.UUID, request: Request, form: Form, session: Db, me: Annotated[Person, allow(Role.ADMIN)]
) -> Response:
    change = PersonChange(role=_role(text_of(form, "role")), active=text_of(form, "active") == "yes")
    try:
        service.change_person(session, person_id, change)
    except ApiError as error:
        return _people(request, session, me, error=error.detail, status=error.status)
    return see_other("/people")


def _role(value: str) -> Role:
    try:
        return Role(value)
    except ValueError:
        detail = f"There is no role {value!r}. Roles: {', '.join(role.value for role in Role)}."
        raise ApiError(422, "invalid", detail) from None


def _people(
    request: Request,
    session: Session,
    me: Person,
    *,
    link: str | None = None,
    role: Role | None = None,
    error: str | None = None,
    status: int = 200,
) -> Response:
    everybody = session.scalars(queries.people().order_by(Person.active.desc(), Person.name)).all()
    return render(
        request, "people.html", me, status, people=everybody, roles=list(Role), link=link, role=role, error=error
    )


@router.get("/keys", dependencies=[allow(*SIGNED_IN)])
def keys_page(request: Request, session: Db, me: Me) -> Response:
    return _keys(request, session, me)


@router.post("/keys", dependencies=[allow(*SIGNED_IN)])
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
