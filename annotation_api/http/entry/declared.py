"""What a route declares, read off all that it depends on: its permission, and whether it needs the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute

from annotation_api.http.dependencies import (
    Alone,
    Permission,
    Public,
    Scraper,
    current,
    get_session,
    optional_person,
)


def permission_of(dependant: Dependant | None) -> Permission | Public | None:
    """The permission that a route declares, directly or through a parameter."""
    for found in calls(dependant):
        if isinstance(found, Alone | Scraper):
            return found.permission
        if isinstance(found, Permission | Public):
            return found
    return None


def asks_database(dependant: Dependant | None) -> bool:
    """Whether a route needs the request's transaction, itself or to know who calls."""
    asking = (get_session, optional_person, current)
    return any(need in asking or isinstance(need, Permission) for need in calls(dependant))


def calls(dependant: Dependant | None) -> Iterator[Any]:
    """All that a route depends on, directly or through others."""
    for needed in dependants(dependant):
        if needed is not dependant:
            yield needed.call


def dependants(dependant: Dependant | None) -> Iterator[Dependant]:
    """What it asks for itself, and what that asks for."""
    if dependant is not None:
        yield dependant
        for child in dependant.dependencies:
            yield from dependants(child)


def check_permissions(routes: Sequence[BaseRoute]) -> None:
    """Raise RuntimeError if a route declares no permission. Static files and the schema are public."""
    bare = [
        f"{sorted(context.methods or ())} {context.path}"
        for context in iter_route_contexts(routes)
        if isinstance(context.original_route, APIRoute) and permission_of(getattr(context, "dependant", None)) is None
    ]
    if bare:
        raise RuntimeError(f"These routes declare no permission (use allow(...) or public): {', '.join(bare)}")
