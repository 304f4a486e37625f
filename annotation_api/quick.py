"""Routes for the requests that everybody sends all day: one transaction, one change of threads.

    quick = APIRouter(prefix="/v1", route_class=QuickRoute)

    @quick.post("/submissions", response_model=SubmissionOut)
    def submit(body: NewSubmission, session: Db, me: Annotated[Caller, allow_alone(*ANNOTATES)]) -> Response: ...

The signature is declared, documented and checked for a permission as that of any route, but FastAPI does not
solve it: signing in, reading the input, the work and the commit run in one function in a worker thread, which
takes a third of the time. What such a route may have: `session`, `me` (with `allow` or `allow_alone`), parameters
of the path and of the query, a JSON `body`, `once`, and `spends` among its dependencies. It returns its Response.
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

from annotation_api import request_head
from annotation_api.dependencies import Alone, Permission, calls, finish, get_sessions, own_origin
from annotation_api.idempotency import KEY, Key, once_of
from annotation_api.quotas import Spends

GIVEN = ("session", "me")


class QuickRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        work = Work(self)

        async def handle(request: Request) -> Response:
            await own_origin(request, request.app.state.settings)
            request_head.check(request)
            body = await request.body()
            async with work.slots(request):
                return await run_in_threadpool(work, request, body)

        return handle


class Work:
    """All that a route does with a request, in one transaction."""

    def __init__(self, route: APIRoute) -> None:
        self.endpoint, needs = route.endpoint, list(calls(route.dependant))
        self.entry = next(found for found in needs if isinstance(found, Alone | Permission))
        self.quotas = [found for found in needs if isinstance(found, Spends)]
        asked = inspect.signature(route.endpoint, eval_str=True).parameters
        kinds: dict[str, Any] = {name: asked[name].annotation for name in asked if name not in GIVEN}
        kinds |= {"once": Key} if "once" in kinds else {}
        self.types = {name: TypeAdapter(kind) for name, kind in kinds.items()}
        self.defaults = {name: asked[name].default for name in asked}
        self.in_path = frozenset(route.param_convertors)

    def slots(self, request: Request) -> asyncio.Semaphore:
        """Claims and judgements have slots of their own: making a job may mean to freeze its data first."""
        state = request.app.state
        slots: asyncio.Semaphore = state.quick_slots if isinstance(self.entry, Alone) else state.job_slots
        return slots

    def __call__(self, request: Request, body: bytes) -> Response:
        settings = request.app.state.settings
        with get_sessions(request)() as session:
            me = self.entry.enter(request, session, settings)
            for quota in self.quotas:
                quota.spend(session, settings, me)
            given = self._read(request, body)
            if "once" in given:
                given["once"] = once_of(request, session, me, given["once"], body)
            response: Response = self.endpoint(session=session, me=me, **given)
            finish(session, request)
        return response

    def _read(self, request: Request, body: bytes) -> dict[str, Any]:
        """The parameters by name; RequestValidationError for what cannot be one."""
        values, errors, sent = {}, [], None
        for name, kind in self.types.items():
            try:
                values[name] = self._value(name, kind, request, body)
            except ValidationError as error:
                where = self._place(name)
                errors += [item | {"loc": where + item["loc"]} for item in error.errors(include_url=False)]
                sent = _parsed(body) if name == "body" else sent
        if errors:
            raise RequestValidationError(errors, body=sent)
        return values

    def _value(self, name: str, kind: TypeAdapter[Any], request: Request, body: bytes) -> Any:
        if name == "body":
            return _read_body(kind, request, body)
        if name == "once":
            return kind.validate_python(request.headers.get(KEY))
        if name in self.in_path:
            return kind.validate_strings(request.path_params[name])
        found = request.query_params.get(name)
        return self.defaults[name] if found is None else kind.validate_strings(found)

    def _place(self, name: str) -> tuple[str, ...]:
        if name in ("body", "once"):
            return ("body",) if name == "body" else ("header", KEY)
        return ("path" if name in self.in_path else "query", name)


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
    except ValueError:
        place, what = 0, "a number with too many digits"
    item = {"type": "json_invalid", "loc": ("body", place), "msg": "JSON decode error", "input": {}}
    raise RequestValidationError([item | {"ctx": {"error": what}}])
