"""The OpenAPI document: checked in, so that a change to it is seen, and valid as 3.1.

    python -m tests.annotation_api.test_openapi

writes it anew.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute, iter_route_contexts
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from alignment.shared.config import CONFIGS, Stage, preset_names
from annotation_api.app import create_app
from annotation_api.http.openapi import parts
from annotation_api.http.openapi.parts import EXAMPLES
from annotation_api.jobs.schemas import JOBS
from annotation_api.settings import Settings

DOCUMENT = Path(__file__).with_name("openapi.json")
RENEW = "python -m tests.annotation_api.test_openapi"


@functools.cache
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


def operations() -> dict[str, dict[str, Any]]:
    """Every operation by its id, with its method and path."""
    found = {}
    for path, methods in app().openapi()["paths"].items():
        for method, operation in methods.items():
            found[operation["operationId"]] = operation | {"method": method.upper(), "path": path}
    return found


def test_it_says_of_every_route_who_may_call_it() -> None:
    """As the table of permissions says, against which every route is tested as every role."""
    letters = {"annotator": "a", "reviewer": "r", "engineer": "e", "admin": "m"}
    table = Path(__file__).with_name("permissions.txt").read_text("utf-8").splitlines()
    who = {tuple(line.replace(":path}", "}").split()[:2]): line.split()[2] for line in table if line[:1].isupper()}
    schemes = app().openapi()["components"]["securitySchemes"]
    assert schemes["apiKey"]["scheme"] == "bearer"
    assert (schemes["session"]["in"], schemes["session"]["name"]) == ("cookie", "rankloop")
    for operation in operations().values():
        expected = who[operation["method"], operation["path"]]
        named = "".join(letters[role] for role in operation.get("x-roles", []))
        assert (named or "public") == expected, operation["operationId"]
        used = [name for one in operation["security"] for name in one]
        assert used[:2] == ([] if expected == "public" else ["apiKey", "session"]), operation["operationId"]
        assert set(used) <= schemes.keys()


def test_every_choice_among_bodies_and_answers_is_told_apart_by_a_field() -> None:
    """A generated client cannot make a job otherwise: it would try the classes in turn."""

    def choices(part: Any, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(part, dict) and "oneOf" in part:
            yield at, part
        inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, value in inner:
            yield from choices(value, f"{at}/{key}")

    document = app().openapi()
    found = dict(choices(document, ""))
    assert {"/components/schemas/NewJob", "/components/schemas/JobEvent"} <= found.keys()
    for at, choice in found.items():
        references = {option["$ref"] for option in choice["oneOf"]}
        assert set(choice["discriminator"]["mapping"].values()) == references, at
    for stage in Stage:
        job = document["components"]["schemas"][JOBS[stage].__name__]
        parts = {name: job["properties"][name]["$ref"].rpartition("/")[2] for name in ("inputs", "config")}
        assert parts == {"inputs": JOBS[stage].__name__ + "Inputs", "config": CONFIGS[stage].__name__}


def test_every_body_has_an_example_that_fits() -> None:
    document = app().openapi()
    resource: Any = DRAFT202012.create_resource(document)
    registry: Any = Registry().with_resource("urn:document", resource)
    bodies = {
        reference
        for operation in operations().values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        for reference in _options(document, content["schema"])
        if not reference.startswith("Body_")  # a form with a file
    }
    assert bodies - EXAMPLES.keys() == set()
    for name in EXAMPLES:
        schema = {"$ref": f"urn:document#/components/schemas/{name}"}
        for example in document["components"]["schemas"][name]["examples"]:
            Draft202012Validator(schema, registry=registry).validate(example)
    for stage, job in JOBS.items():
        body = job.model_validate(EXAMPLES[job.__name__])
        assert CONFIGS[stage].model_validate(body.config)


def _options(document: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """The components that a body may be."""
    if schema.get("format") == "binary":
        return []
    if "anyOf" in schema:
        return _options(document, schema["anyOf"][0])
    if "items" in schema:
        return _options(document, schema["items"])
    name = schema["$ref"].rpartition("/")[2]
    found = document["components"]["schemas"][name]
    return [name] if "oneOf" not in found else [one for option in found["oneOf"] for one in _options(document, option)]


def test_answers_lead_on_to_operations_that_there_are() -> None:
    known = operations()
    assert {*parts.REFUSES, *parts.LOCATED, *parts.NOTES, *parts.LINKS} <= known.keys()
    for name, answers in parts.LINKS.items():
        for status, links in answers.items():
            assert known[name]["responses"][status]["links"].keys() == links.keys()
            for target, values in links.items():
                asked = {one["name"] for one in known[target]["parameters"] if one["in"] == "path"}
                assert values.keys() == asked, f"{name} to {target}"
    assert "show_model" in known["show_job"]["responses"]["200"]["links"]


def test_a_newcomer_reads_how_to_begin_and_which_presets_there_are() -> None:
    known, schemas = operations(), app().openapi()["components"]["schemas"]
    assert "set-up link" in known["accept_invitation"]["description"]
    assert known["accept_invitation"]["security"] == []
    for name in ("SFTJob", "NewPipeline"):
        assert schemas[name]["properties"]["preset"]["anyOf"][0]["enum"] == preset_names()


if __name__ == "__main__":
    DOCUMENT.write_text(written(app().openapi()), "utf-8")
