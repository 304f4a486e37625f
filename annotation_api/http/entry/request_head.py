"""What is checked of every request to /v1 before its work: its parameters and the type of its content are known ones.

A misspelt parameter that is ignored gives another answer than was asked for; a body of another type would be read as
something that it is not.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import get_args, get_origin

from fastapi import Request, params
from fastapi._compat import ModelField
from fastapi.routing import APIRoute

from alignment.shared.sentence import Sentence, either
from alignment.shared.validation import Problem, shown
from annotation_api.http.entry.declared import dependants
from annotation_api.http.errors import ApiError

CHECKED = "/v1/"
JSON = ("application/json",)
FORM = ("multipart/form-data",)


@dataclass(frozen=True)
class Known:
    """What a route reads of a request."""

    parameters: frozenset[str]
    lists: frozenset[str]  # of them, those that may come several times
    contents: tuple[str, ...]  # types of its body; none: it has no body

    @classmethod
    def of(cls, route: APIRoute) -> Known:
        asked = [one for needed in dependants(route.dependant) for one in needed.query_params]
        found = frozenset(one.alias for one in asked), frozenset(one.alias for one in asked if _several(one))
        if route.body_field is None:
            return cls(*found, tuple((route.openapi_extra or {}).get("requestBody", {}).get("content", ())))
        return cls(*found, FORM if isinstance(route.body_field.field_info, params.Form) else JSON)


def _several(parameter: ModelField) -> bool:
    kind = parameter.field_info.annotation
    return any(get_origin(one) is list for one in (kind, *get_args(kind)))


_KNOWN: dict[int, tuple[APIRoute, Known]] = {}  # by the id of the route, which is kept so that the id stays its own


def check(request: Request) -> None:
    """Raise 400 for a parameter that the route does not have, or that comes twice; 415 for a body of another type."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not request.url.path.startswith(CHECKED):
        return
    if id(route) not in _KNOWN:
        _KNOWN[id(route)] = (route, Known.of(route))
    known = _KNOWN[id(route)][1]
    for name in request.query_params:
        if name not in known.parameters:
            raise _unknown(name, request.query_params[name], known.parameters)
        if name not in known.lists and len(request.query_params.getlist(name)) > 1:
            raise _ambiguous(name)
    if known.contents and _has_body(request):
        _check_content(request.headers.get("content-type", ""), known.contents)


def _unknown(name: str, value: str, parameters: frozenset[str]) -> ApiError:
    near = difflib.get_close_matches(name, parameters, n=1, cutoff=0.5)
    listed = ", ".join(sorted(parameters)) or "none"
    hint = (
        Sentence("did-you-mean", "Did you mean %(near)s?", near=f"{near[0]!r}")
        if near
        else Sentence("path-has", "It has: %(listed)s.", listed=listed)
    )
    message = Sentence(
        "no-such-parameter", "This path has no parameter %(name)s. %(hint)s", name=f"{name[:80]!r}", hint=hint
    )
    problem = Problem(pointer=f"query:{name[:80]}", message=message, value=shown(value))
    return ApiError(400, "unknown-parameter", message, [problem])


def _ambiguous(name: str) -> ApiError:
    message = Sentence("one-value", "%(name)s takes one value; it was given several times.", name=f"{name!r}")
    return ApiError(400, "ambiguous-parameter", message, [Problem(pointer=f"query:{name}", message=message)])


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _check_content(given: str, taken: tuple[str, ...]) -> None:
    kind = given.partition(";")[0].strip().lower()
    if kind in taken or (taken is JSON and kind.startswith("application/") and kind.endswith("+json")):
        return
    detail = Sentence(
        "path-takes",
        "This path takes %(taken)s; %(kind)s was sent.",
        taken=either(taken),
        kind=kind[:80] or "no Content-Type",
    )
    raise ApiError(415, "wrong-content-type", detail, headers={"Accept-Post": ", ".join(taken)})
