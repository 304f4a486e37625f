"""Every error leaves as RFC 9457 problem+json: a stable type, one sentence, and pointers to the fields.

Services raise `ApiError`; the rest (validation, unknown paths, a lost database, our own faults) is translated here.
A browser that navigates gets the same facts as a page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Discriminator, TypeAdapter, ValidationError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from alignment.shared.errors import is_full
from alignment.shared.records import storable
from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem, explain, pointed, said, shown
from annotation_api.db.engine import DatabaseUnavailable
from annotation_api.http import audit as recording
from annotation_api.http.schemas import WrongBody, unstorable

log = logging.getLogger("rankloop.api")
PROBLEM_JSON = "application/problem+json"
MACHINE_PATHS = ("/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/static/")
SLUGS = {
    400: "bad-request",
    401: "not-signed-in",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
}
RETRY_SECONDS = 5
BUSY = "Others hold what this needs. Nothing was changed; try again in a moment."
DATABASE_PROBLEMS = {  # by Postgres's code: what it can say besides that it cannot be reached
    code: (status, Sentence(slug, english))
    for code, (status, slug, english) in {
        "53100": (507, "database-full", "The database's disk is full. Nothing was changed; reading still works."),
        "25006": (503, "database-read-only", "The database is read-only for now. Nothing was changed; reading works."),
        **dict.fromkeys(("55P03", "40P01"), (503, "database-busy", BUSY)),
        "57014": (503, "database-too-slow", "The database took too long, and was stopped. Nothing was changed."),
    }.items()
}
TAKEN = "23505"  # Postgres's code for what may be there once
M = TypeVar("M", bound=BaseModel)
MOST_LISTED = 51  # problems of one request


class ApiError(Exception):
    """What a service raises when a request cannot be done; `detail` says what to do instead.

    `slug` is stable: clients switch on the problem type `urn:rankloop:<slug>`.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        problems: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
        objects: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.slug, self.detail = status, slug, detail
        self.objects = dict(objects or {})  # for the audit; not told to the caller
        self.problems, self.headers = tuple(problems), dict(headers or {})

    @property
    def shown(self) -> str:
        """What a form says of it: the first thing that is wrong, else the detail."""
        return self.problems[0].message if self.problems else self.detail

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "type": f"urn:rankloop:{self.slug}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": storable(self.detail),
        }
        if self.problems:
            body["errors"] = [storable(problem.model_dump()) for problem in self.problems[:MOST_LISTED]]
        return body

    def response(self) -> Response:
        return JSONResponse(self.body(), self.status, self.headers, media_type=PROBLEM_JSON)


def not_found(what: str, key: object) -> ApiError:
    """404, also for what exists but is none of the caller's business."""
    return ApiError(404, "not-found", Sentence("not-found", "There is no %(what)s %(key)s.", what=what, key=str(key)))


def invalid(problems: Sequence[Problem]) -> ApiError:
    """422 with every problem; the detail repeats the first."""
    rest = len(problems) - 1
    more = Sentence("and-more", " (and %(rest)s more)", rest=rest) if rest else ""
    return ApiError(422, "invalid", pointed(problems[0], more), problems)


def from_validation(error: ValidationError, model: Any, under: str = "") -> ApiError:
    """A 422 from pydantic's errors; `under` is the pointer at which `model` stands in the request."""
    found = explain(error, model)
    return invalid([problem.model_copy(update={"pointer": under + problem.pointer}) for problem in found])


def valid(model: type[M], sent: Mapping[str, Any]) -> M:
    """What was sent, as `model`. Raises the 422 that names every problem."""
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        raise from_validation(error, model) from None


PageRenderer = Callable[[Request, ApiError], Response]


def answer(page: PageRenderer, request: Request, error: ApiError) -> Response:
    """The error as who asks can read it: a person in a browser gets `page`."""
    return page(request, error) if _wants_page(request) else error.response()


def install(app: FastAPI, page: PageRenderer) -> None:
    """Send every error of `app` through one door; `page` renders it for a person in a browser."""

    def door(named: Callable[[Request, Any], ApiError]) -> Callable[[Request, Exception], Response]:
        return lambda request, error: answer(page, request, named(request, error))

    def refuse(request: Request, error: ApiError) -> Response:
        record_refusal(request, error)
        return answer(page, request, error)

    async def on_api(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return await run_in_threadpool(refuse, request, error)

    app.add_exception_handler(ApiError, on_api)
    for kind, named in NAMED.items():
        app.add_exception_handler(kind, door(named))


def record_refusal(request: Request, error: ApiError) -> None:
    """Say in the audit that somebody was not let in. Where that cannot be written, the log says so."""
    if error.slug not in recording.REFUSALS:
        return
    try:
        with request.app.state.sessions() as session:
            recording.refused(session, request, error.slug, error.objects)
    except (DBAPIError, DatabaseUnavailable, PoolTimeout):
        log.exception("the audit does not have this refusal: %s", recording.action_of(request))


def _state(error: Exception) -> str | None:
    """Postgres's code for what went wrong."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def database_problem(error: Exception) -> ApiError:
    """What a caller is told when the database did not do its part; the transaction is rolled back."""
    text = "The database cannot be reached. Nothing was changed; try again in %(n)s seconds."
    away = (503, Sentence("database-unavailable", text, n=RETRY_SECONDS))
    status, detail = DATABASE_PROBLEMS.get(_state(error) or "", away)
    return ApiError(status, detail.code, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def too_large(most: int | None = None) -> ApiError:
    limit = f": {most} bytes" if most else ""
    detail = Sentence("body-too-large", "The request is larger than this path accepts%(limit)s.", limit=limit)
    return ApiError(413, SLUGS[413], detail)


def unknown_host() -> ApiError:
    text = "This service has no such host name (RANKLOOP_ALLOWED_HOSTS)."
    return ApiError(400, "unknown-host", Sentence("unknown-host", text))


def internal(request_id: str) -> ApiError:
    """A fault of ours: the log has the traceback under the request id, the caller only the id."""
    text = "Something failed on our side. The log has it under request %(key)s."
    return ApiError(500, "internal", Sentence("internal", text, key=request_id))


def _wants_page(request: Request) -> bool:
    return not request.url.path.startswith(MACHINE_PATHS) and "text/html" in request.headers.get("accept", "")


def _from_http(request: Request, error: HTTPException) -> ApiError:
    if error.status_code == 413:
        return too_large()
    if isinstance(error, WrongBody):
        return invalid([error.problem])
    slug = SLUGS.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "-"))
    detail = {
        404: Sentence("no-such-path", "There is nothing at %(path)s.", path=request.url.path),
        405: Sentence(
            "no-such-method", "%(path)s does not take %(method)s.", path=request.url.path, method=request.method
        ),
    }.get(error.status_code, str(error.detail))
    return ApiError(error.status_code, slug, detail, headers=error.headers)


def _from_request(request: Request, error: RequestValidationError) -> ApiError:
    """Body errors are explained with near misses; query and path errors have no others beside them."""
    found, model = _explained(request, error), _body_type(request)
    if any(not field.repr for field in getattr(model, "model_fields", {}).values()):
        return invalid([problem.model_copy(update={"value": ""}) for problem in found.problems])  # a secret, misplaced
    return found


def _explained(request: Request, error: RequestValidationError) -> ApiError:
    model = _body_type(request)
    errors = error.errors()
    if model is not None and isinstance(error.body, dict) and all(item["loc"][0] == "body" for item in errors):
        try:
            TypeAdapter(model).validate_python(error.body)
        except ValidationError as again:
            return from_validation(again, model)
    return invalid([_problem(item) for item in errors])


def _body_type(request: Request) -> Any:
    """What the route validates the body against; None where that is not one body."""
    field = getattr(request.scope.get("route"), "body_field", None)
    if field is None:
        return None
    discriminators = [note for note in field.field_info.metadata if isinstance(note, Discriminator)]
    return Annotated[field.field_info.annotation, *discriminators] if discriminators else field.field_info.annotation


def _problem(item: Mapping[str, Any]) -> Problem:
    if item["type"] == "json_invalid":
        text = "The body is not JSON: %(error)s at character %(loc)s."
        message = Sentence("body-not-json", text, error=item["ctx"]["error"], loc=item["loc"][1])
        return Problem(pointer="/", message=message)
    where, *rest = item["loc"]
    pointer = "/" + "/".join(str(part) for part in rest) if where == "body" else f"{where}:{'.'.join(map(str, rest))}"
    value = None if item["type"] == "missing" else shown(item.get("input", ""))
    return Problem(pointer=pointer, message=said(item), value=value)


def _from_database(request: Request, error: Exception) -> ApiError:
    log.error("the database did not do it: %s", error)
    return database_problem(error)


def _read_only(request: Request, error: Exception) -> ApiError:
    if _state(error) not in DATABASE_PROBLEMS:
        raise error
    return _from_database(request, error)


def _conflict(request: Request, error: Exception) -> ApiError:
    if _state(error) != TAKEN:
        raise error
    text = "Another request stored the same a moment before. Nothing was changed; look at what is there now."
    return ApiError(409, "conflict", Sentence("conflict", text))


def _unstorable(request: Request, error: Exception) -> ApiError:
    if found := unstorable({"query": dict(request.query_params), "path": request.path_params}):
        place = found.pointer.removeprefix("/").replace("/", ":", 1)
        return invalid([found.model_copy(update={"pointer": place})])
    text = "A text has a character that cannot be stored: NUL or half of a surrogate pair. Remove it."
    return ApiError(422, "unstorable-text", Sentence("unstorable-character", text))


def _no_space(request: Request, error: Exception) -> ApiError:
    if not is_full(error):
        raise error
    log.error("the disk is full: %s", error)
    text = "The server's disk is full, and what you sent was not stored. Send it again once there is room."
    return ApiError(507, "no-space", Sentence("no-space", text), headers={"Connection": "close"})


# What each exception is to a caller, besides those that services raise.
NAMED: dict[type[Exception], Callable[[Request, Any], ApiError]] = {
    OSError: _no_space,
    DataError: _unstorable,
    UnicodeEncodeError: _unstorable,
    RequestValidationError: _from_request,
    HTTPException: _from_http,
    InternalError: _read_only,
    IntegrityError: _conflict,
    DatabaseUnavailable: _from_database,
    OperationalError: _from_database,
    InterfaceError: _from_database,
    PoolTimeout: _from_database,
}
