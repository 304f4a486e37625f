"""The OpenAPI document: checked in, so that a change to it is seen, and valid as 3.1.

    python -m tests.annotation_api.test_openapi

writes it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute, iter_route_contexts
from openapi_spec_validator import OpenAPIV31SpecValidator

from annotation_api.app import create_app
from annotation_api.settings import Settings

DOCUMENT = Path(__file__).with_name("openapi.json")
RENEW = "python -m tests.annotation_api.test_openapi"


def app() -> Any:
    return create_app(Settings(database_url="postgresql://nobody@localhost/none"))


def written(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def test_the_document_is_the_one_that_was_reviewed() -> None:
    """Compared by parts first: the parts that differ are named."""
    now, reviewed = app().openapi(), json.loads(DOCUMENT.read_text("utf-8"))
    changed = [f"{part} {name}" for part, name, old, new in _pairs(reviewed, now) if old != new]
    assert changed == [], f"the API changed; look at it, and if it is meant: {RENEW}"
    assert written(now) == DOCUMENT.read_text("utf-8"), f"renew it: {RENEW}"


def _pairs(reviewed: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """Each path and schema with what it was and what it is."""
    parts = {"path": ("paths",), "schema": ("components", "schemas")}
    found = []
    for part, keys in parts.items():
        old, new = (_dig(document, keys) for document in (reviewed, now))
        found += [(part, name, old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys())]
    return found


def _dig(document: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    for key in keys:
        document = document[key]
    return document


def test_the_document_is_valid_openapi_3_1() -> None:
    document = app().openapi()
    assert document["openapi"].startswith("3.1")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_route_of_the_api_is_in_it() -> None:
    """Pages are not: their addresses are for people."""
    service = app()
    listed = {(method.upper(), path) for path, methods in service.openapi()["paths"].items() for method in methods}
    routes = {
        (method, str(context.path).replace(":path}", "}"))
        for context in iter_route_contexts(service.routes)
        if isinstance(context.original_route, APIRoute) and str(context.path).startswith("/v1/")
        for method in context.methods or ()
    }
    assert routes - listed == set()


if __name__ == "__main__":
    DOCUMENT.write_text(written(app().openapi()), "utf-8")
