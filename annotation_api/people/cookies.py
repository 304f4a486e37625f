"""The cookies of a person's browser: the session's token, and the mark by which the device is known later."""

from __future__ import annotations

from fastapi import Request, Response

from annotation_api.db.tables import Person
from annotation_api.http import auth
from annotation_api.http.dependencies import cookie_name
from annotation_api.http.scopes import address_of
from annotation_api.people import tries
from annotation_api.people.tries import Knock
from annotation_api.settings import Settings

SEPARATOR = "~"  # between the marks of several people who share a browser
MOST_DEVICES = 8


def welcome(request: Request, response: Response, settings: Settings, person: Person, token: str) -> None:
    """The person signed in here: hand both cookies to the browser, out of reach of scripts."""
    _set(response, settings, cookie_name(settings), token, int(auth.SESSION_LIFE.total_seconds()))
    others = [mark for mark in _devices(request, settings) if not tries.is_of(person, mark)]
    marks = [tries.device_token(person), *others][:MOST_DEVICES]
    _set(response, settings, _device_name(settings), SEPARATOR.join(marks), int(tries.DEVICE_LIFE.total_seconds()))


def drop_cookie(response: Response, settings: Settings) -> None:
    """Signed out; the device stays known."""
    response.delete_cookie(cookie_name(settings), httponly=True, samesite="lax", secure=settings.tls)


def knock_of(request: Request, settings: Settings) -> Knock:
    return Knock(address_of(request, settings), tuple(_devices(request, settings)))


def _devices(request: Request, settings: Settings) -> list[str]:
    marks = request.cookies.get(_device_name(settings), "").split(SEPARATOR)
    return [mark for mark in marks if mark][:MOST_DEVICES]


def _device_name(settings: Settings) -> str:
    return f"{cookie_name(settings)}-device"


def _set(response: Response, settings: Settings, name: str, value: str, life: int) -> None:
    response.set_cookie(name, value, max_age=life, httponly=True, samesite="lax", secure=settings.tls)
