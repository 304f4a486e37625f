"""The OpenAPI document beyond what FastAPI writes of the routes: who may call, what is refused, where an answer leads.

Most of it follows from the routes themselves (their permission, parameters, quotas); what cannot be seen from outside
stands by operation in `http.openapi.parts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute

from annotation_api.db.tables import Role
from annotation_api.http.dependencies import Public, Scraper, cookie_name
from annotation_api.http.entry.declared import calls, permission_of
from annotation_api.http.entry.route import BYTES, takes_file
from annotation_api.http.errors import PROBLEM_JSON
from annotation_api.http.idempotency import idempotency
from annotation_api.http.openapi import parts
from annotation_api.http.quotas import Spends
from annotation_api.http.scopes import SAFE_METHODS
from annotation_api.settings import Settings

EVENTS = "text/event-stream"
Operation = dict[str, Any]
SIGNED_IN: list[dict[str, list[str]]] = [{"apiKey": []}, {"session": []}]


def complete(document: dict[str, Any], routes: Sequence[BaseRoute], settings: Settings) -> None:
    """Add all of it, in place."""
    components = document["components"]
    components["securitySchemes"] = _schemes(settings)
    components["responses"] = {name: _refusal(text, headers) for name, text, headers in parts.REFUSALS.values()}
    for name, example in parts.EXAMPLES.items():
        components["schemas"][name]["examples"] = [example]
    _name_the_body(document, "submit", "NewSubmission", "kind")
    for method, operation, dependant in _operations(document, routes):
        _secure(operation, dependant)
        _refuse(operation, method, dependant)
        _tell_headers(operation, method, dependant)
        _describe_stream(operation)
        _lead_on(operation)
        if note := parts.NOTES.get(operation["operationId"]):
            operation["description"] = f"{operation.get('description', '')}\n\n{note}".strip()


def _name_the_body(document: dict[str, Any], operation: str, name: str, told_by: str) -> None:
    """Make a body that is one of several a component of its own, told apart by a field."""
    found = next(one for path in document["paths"].values() for one in path.values() if one["operationId"] == operation)
    content = found["requestBody"]["content"]["application/json"]
    schemas = document["components"]["schemas"]
    options = {
        schemas[option["$ref"].rpartition("/")[2]]["properties"][told_by]["const"]: option["$ref"]
        for option in content["schema"]["oneOf"]
    }
    schemas[name] = content["schema"] | {"discriminator": {"propertyName": told_by, "mapping": options}, "title": name}
    content["schema"] = {"$ref": f"#/components/schemas/{name}"}


def _operations(
    document: Mapping[str, Any], routes: Sequence[BaseRoute]
) -> Iterator[tuple[str, Operation, Dependant | None]]:
    for context in iter_route_contexts(routes):
        path = str(context.path).replace(":path}", "}")
        if isinstance(context.original_route, APIRoute) and path in document["paths"]:
            for method in context.methods or ():
                if operation := document["paths"][path].get(method.lower()):
                    yield method, operation, getattr(context, "dependant", None)


def _schemes(settings: Settings) -> dict[str, Any]:
    return {
        "apiKey": {"type": "http", "scheme": "bearer", "description": parts.API_KEY},
        "session": {"type": "apiKey", "in": "cookie", "name": cookie_name(settings), "description": parts.SESSION},
        "metricsToken": {"type": "http", "scheme": "bearer", "description": parts.METRICS_TOKEN},
    }


def _refusal(text: str, headers: Sequence[str]) -> dict[str, Any]:
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    shown = {name: {"description": parts.HEADERS[name], "schema": {"type": "string"}} for name in headers}
    return {"description": text, "content": content} | ({"headers": shown} if shown else {})


def _secure(operation: Operation, dependant: Dependant | None) -> None:
    """Who may call: as security, as `x-roles` for programs, and as a sentence for people."""
    permission = permission_of(dependant)
    if permission is None or isinstance(permission, Public):
        operation["security"] = []
        return
    scraped = any(isinstance(found, Scraper) for found in calls(dependant))
    operation["security"] = [*SIGNED_IN, *([{"metricsToken": []}] if scraped else [])]
    roles = [role.value for role in Role if role in permission.roles]
    operation["x-roles"] = roles
    whom = "anybody who is signed in" if len(roles) == len(Role) else ", ".join(f"`{role}`" for role in roles)
    operation["description"] = f"{operation.get('description', '')}\n\nFor {whom}.".strip()


def _refuse(operation: Operation, method: str, dependant: Dependant | None) -> None:
    """Every status that is an error, by name; what a route documents itself stays."""
    answers = operation["responses"]
    answers.pop("default", None)
    for answer in (answers[status] for status in answers if status >= "400"):
        answer["content"] = {PROBLEM_JSON: answer["content"].popitem()[1]}
    for status in sorted(_statuses(operation, method, dependant)):
        answers.setdefault(str(status), {"$ref": f"#/components/responses/{parts.REFUSALS[status][0]}"})


def _statuses(operation: Operation, method: str, dependant: Dependant | None) -> set[int]:
    asked, unsafe = operation.get("parameters", []), method not in SAFE_METHODS
    needs = list(calls(dependant))
    found = {400, 500, 503} | set(parts.REFUSES.get(operation["operationId"], ()))
    found |= {401, 403} if operation["security"] else set()
    found |= {403, 507} if unsafe else set()
    found |= {404} if any(one["in"] == "path" for one in asked) else set()
    found |= {408, 413, 415, 422} if "requestBody" in operation else set()
    found |= {422} if asked else set()
    found |= {409} if idempotency in needs else set()
    file = (dependant is not None and takes_file(dependant)) or BYTES in operation.get("requestBody", {}).get(
        "content", {}
    )
    found |= {411} if file else set()
    found |= {429} if file or any(isinstance(one, Spends) for one in needs) else set()
    return found


def _tell_headers(operation: Operation, method: str, dependant: Dependant | None) -> None:
    """What comes beside the body of a success."""
    tagged = method == "GET" and "200" in operation["responses"] and "text/event-stream" not in str(operation)
    if tagged and operation["security"]:
        operation["responses"]["304"] = {"description": parts.UNCHANGED}
    for status, answer in operation["responses"].items():
        names = []
        if status in ("201", "202") and operation["operationId"] in parts.LOCATED:
            names.append("Location")
        if status == "200" and any(one["name"] == "cursor" for one in operation.get("parameters", [])):
            names.append("Link")
        if status == "200" and method == "GET" and "application/json" in answer.get("content", {}):
            names.append("ETag")
        if names:
            told = {name: {"description": parts.HEADERS[name], "schema": {"type": "string"}} for name in names}
            answer["headers"] = told | answer.get("headers", {})


def _describe_stream(operation: Operation) -> None:
    """A stream is text that holds events: JSON Schema says so with `contentSchema`."""
    for answer in operation["responses"].values():
        for kind, content in answer.get("content", {}).items():
            if kind == EVENTS:
                event = {"$ref": content["schema"]["$ref"]}
                content["schema"] = {"type": "string", "contentMediaType": EVENTS, "contentSchema": event}


def _lead_on(operation: Operation) -> None:
    for status, links in parts.LINKS.get(operation["operationId"], {}).items():
        operation["responses"][status]["links"] = {
            target: {"operationId": target, "parameters": dict(values)} for target, values in links.items()
        }
