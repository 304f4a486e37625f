"""Routes for the requests that everybody sends all day: one transaction, one change of threads.

    router = APIRouter(prefix="/v1", route_class=QuickRoute)

    @router.post("/submissions", response_model=SubmissionOut)
    def submit(body: NewSubmission, session: Db, me: Annotated[Caller, allow_alone(*ANNOTATES)]) -> Response: ...

The signature is declared, documented and checked for a permission as that of any route, but FastAPI does not
solve it: signing in, reading the input, the work and the commit run in one function in a worker thread, which
takes a third of the time. What such a route may have: `session`, `me` (with `allow_alone`), parameters of the
path and of the query, and a JSON `body`. It returns its Response.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from annotation_api.dependencies import alone_of, get_sessions, own_origin

GIVEN = ("session", "me")


class QuickRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        work = Work(self)

        async def handle(request: Request) -> Response:
            await own_origin(request, request.app.state.settings)
            body = await request.body()
            slots: asyncio.Semaphore = request.app.state.quick_slots
            async with slots:
                return await run_in_threadpool(work, request, body)

        return handle


class Work:
    """All that a route does with a request, in one transaction."""

    def __init__(self, route: APIRoute) -> None:
        self.endpoint, self.alone = route.endpoint, alone_of(route.dependant)
        asked = inspect.signature(route.endpoint, eval_str=True).parameters
        self.types = {name: TypeAdapter(asked[name].annotation) for name in asked if name not in GIVEN}
        self.defaults = {name: asked[name].default for name in asked}
        self.in_path = frozenset(route.param_convertors)

    def __call__(self, request: Request, body: bytes) -> Response:
        with get_sessions(request)() as session:
            me = self.alone.enter(request, session, request.app.state.settings)
            response: Response = self.endpoint(session=session, me=me, **self._read(request, body))
            session.commit()
        return response

    def _read(self, request: Request, body: bytes) -> dict[str, Any]:
        """The parameters by name; RequestValidationError for what cannot be one."""
        values, errors, sent = {}, [], None
        for name, kind in self.types.items():
            try:
                if name == "body":
                    values[name] = _read_body(kind, request, body)
                elif name in self.in_path:
                    values[name] = kind.validate_strings(request.path_params[name])
                else:
                    found = request.query_params.get(name)
                    values[name] = self.defaults[name] if found is None else kind.validate_strings(found)
            except ValidationError as error:
                place = ("path", name) if name in self.in_path else ("query", name)
                where = ("body",) if name == "body" else place
                errors += [item | {"loc": where + item["loc"]} for item in error.errors(include_url=False)]
                sent = _parsed(body) if name == "body" else sent
        if errors:
            raise RequestValidationError(errors, body=sent)
        return values


def as_json(shown: BaseModel, status: int = 200) -> Response:
    return Response(shown.model_dump_json(), status, media_type="application/json")


def _read_body(kind: TypeAdapter[Any], request: Request, body: bytes) -> Any:
    """From JSON. Where the quick parser objects to the JSON itself, the other one says which field it is."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        return kind.validate_python(body.decode(errors="replace") if body else None)
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        if error.errors()[0]["type"] != "json_invalid":
            raise
        return kind.validate_python(_parsed(body))


def _parsed(body: bytes) -> Any:
    """The body; RequestValidationError if it is no JSON."""
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        place, what = error.pos, error.msg
    except UnicodeDecodeError as error:
        place, what = error.start, "not UTF-8"
    except RecursionError:
        place, what = 0, "nested too deeply"
    item = {"type": "json_invalid", "loc": ("body", place), "msg": "JSON decode error", "input": {}}
    raise RequestValidationError([item | {"ctx": {"error": what}}])
