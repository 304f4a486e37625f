"""Pages for admins on people: invitations, roles, who did what, and taking a name away for good."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from annotation_api.db import limits
from annotation_api.db.tables import Person, Role
from annotation_api.db.tallies import counts
from annotation_api.http import audit as recording
from annotation_api.http.dependencies import Config, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError
from annotation_api.people import queries, second_factor, service, tries
from annotation_api.people.routes import join_url, reset_url
from annotation_api.people.schemas import PersonChange
from annotation_api.web import work_queries
from annotation_api.web.markup.fields import Words
from annotation_api.web.markup.rendering import read_form, render, see_other, text_of

router = APIRouter(prefix="/people", dependencies=[allow(Role.ADMIN)], route_class=DoorRoute)
MOST_SHOWN = 200
Form = Annotated[FormData, Depends(read_form)]


@router.get("")
def people_page(request: Request, session: Db, me: Me, q: Words = "") -> Response:
    return _people(request, session, me, wanted=q)


@router.post("")
def invite(request: Request, form: Form, session: Db, settings: Config, me: Me) -> Response:
    note = text_of(form, "note").strip()[:200] or None
    token, invitation = service.invite(session, _role(text_of(form, "role")), note=note)
    return _people(request, session, me, link=join_url(request, settings, token), role=invitation.role)


@router.post("/invitations/{invitation_id}/withdraw")
def withdraw(invitation_id: str, session: Db) -> Response:
    service.withdraw(session, invitation_id)
    return see_other("/people")


@router.get("/{person_id}")
def person_page(person_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    return _person(request, session, me, service.find_person(session, person_id))


@router.post("/{person_id}")
def change_person(person_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    change = PersonChange(role=_role(text_of(form, "role")), active=text_of(form, "active") == "yes")
    try:
        service.change_person(session, person_id, change)
    except ApiError as error:
        return _person(request, session, me, service.find_person(session, person_id), error)
    return see_other(f"/people/{person_id}")


@router.post("/{person_id}/reset")
def reset_password(person_id: uuid.UUID, request: Request, session: Db, settings: Config, me: Me) -> Response:
    person = service.find_person(session, person_id)
    try:
        token, _ = service.begin_reset(session, person)
    except ApiError as error:
        return _person(request, session, me, person, error)
    return _person(request, session, me, person, link=reset_url(request, settings, token))


@router.post("/{person_id}/unlock")
def unlock(person_id: uuid.UUID, session: Db) -> Response:
    service.unlock(session, service.find_person(session, person_id))
    return see_other(f"/people/{person_id}")


@router.post("/{person_id}/second-factor/remove")
def remove_second_factor(person_id: uuid.UUID, session: Db) -> Response:
    second_factor.remove(session, service.find_person(session, person_id))
    return see_other(f"/people/{person_id}")


@router.get("/{person_id}/erase")
def ask_before_erasing(person_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    """The second look before what cannot be undone."""
    return render(request, "erase.html", me, person=service.find_person(session, person_id))


@router.post("/{person_id}/erase")
def erase(person_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    if text_of(form, "sure") != "yes":
        recording.nothing_done(request)
        return see_other(f"/people/{person_id}/erase")
    try:
        service.erase(session, person_id)
    except ApiError as error:
        return _person(request, session, me, service.find_person(session, person_id), error)
    return see_other("/login" if person_id == me.id else f"/people/{person_id}")


def _role(value: str) -> Role:
    try:
        return Role(value)
    except ValueError:
        detail = Sentence(
            "no-such-role",
            "There is no role %(value)s. Roles: %(role)s.",
            value=f"{value!r}",
            role=", ".join(role.value for role in Role),
        )
        raise ApiError(422, "invalid", detail) from None


def _people(
    request: Request,
    session: Session,
    me: Person,
    *,
    wanted: str = "",
    link: str | None = None,
    role: Role | None = None,
) -> Response:
    found = session.scalars(queries.found_by(wanted, MOST_SHOWN + 1)).all()
    return render(
        request,
        "people.html",
        me,
        people=found[:MOST_SHOWN],
        more=len(found) > MOST_SHOWN,
        wanted=wanted,
        judged=counts.judged_by_person(session),
        invitations=queries.open_invitations(session),
        roles=list(Role),
        link=link,
        role=role,
    )


def _person(
    request: Request,
    session: Session,
    me: Person,
    person: Person,
    error: ApiError | None = None,
    *,
    link: str | None = None,
) -> Response:
    return render(
        request,
        "person.html",
        me,
        error.status if error else 200,
        person=person,
        roles=list(Role),
        by_project=work_queries.by_project(session, person.id),
        last_seen=work_queries.last_seen(session, person.id),
        wrong_tries=limits.tried(session, tries.of_account(person.email)),
        link=link,
        error=error.detail if error else None,
    )
