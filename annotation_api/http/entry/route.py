"""The door of every route: what is settled on a request's headers, then its body, then its work in one thread.

    router = APIRouter(prefix="/v1", route_class=DoorRoute)

A transaction is scarce and a body may be slow, so no route holds one while the other is on its way:

1. A request that another site made a browser send is refused, and so is a parameter or a type of content that the route
   does not have.
2. Who sends more than LITTLE says first who they are, and is let in or not: on the headers, in a transaction of its
   own. So does everybody who sends a file; for that the declared size, the quota, a place and room on the disk are
   settled, too. What is public takes no more than FROM_ANYBODY.
3. The body is read whole and in time (`bodies`): into memory, a file to the disk.
4. A slot is taken, and all the rest happens in one worker thread and one transaction: the caller is found and let in,
   FastAPI reads the input and solves what the route depends on, the route works, the answer is written, the
   transaction is committed. Who may not do it learns nothing about how it is done.

A change of threads for sign-in, the route and the commit each costs half as much again as the whole request
(tests/benchmarks/bench_desk.py: 5.2 ms of CPU instead of 3.4). So nothing here may wait for the event loop:
dependencies are `async def` and ask the database directly, routes are `def`. A route that is `async def` has no
transaction and runs on the event loop.

`check_doors` keeps an app from starting that has a route without this door.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request, Response, UploadFile
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.routing import BaseRoute

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.http.auth import Someone
from annotation_api.http.dependencies import (
    CALLER,
    SESSION,
    SETTINGS,
    Alone,
    Permission,
    Public,
    finish,
    get_sessions,
    own_origin,
)
from annotation_api.http.entry import request_head
from annotation_api.http.entry.bodies import Arriving, Whole
from annotation_api.http.entry.declared import asks_database, calls, permission_of
from annotation_api.http.entry.slots import Slots
from annotation_api.http.entry.uploads import MAX_UPLOAD_BYTES
from annotation_api.http.errors import ApiError, invalid, too_large
from annotation_api.http.quotas import Quota, Spends, spend_bytes, spend_upload
from annotation_api.http.scopes import SAFE_METHODS

LITTLE = 64 * 2**10  # bytes that anybody may send before it is known who they are
FROM_ANYBODY = 4 * 2**10  # bytes that a public route takes: an address, a name and a password
BYTES = "application/octet-stream"
MOST_FIELDS = 20  # beside a file

Then = Callable[[Session, Someone], None]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class DoorRoute(APIRoute):
    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.waits = inspect.iscoroutinefunction(endpoint)
        super().__init__(path, endpoint if self.waits else _at_once(endpoint), **options)
        if isinstance(permission_of(self.dependant), Public):
            self.max_body_size = FROM_ANYBODY
        elif takes_file(self.dependant):
            self.max_body_size = MAX_UPLOAD_BYTES

    def get_route_handler(self) -> Handler:
        solve, permission = super().get_route_handler(), permission_of(self.dependant)
        opened = _upload if takes_file(self.dependant) else _streamed if takes_stream(self) else _whole
        work = solve if self.waits else _in_a_thread(self, solve)

        async def handle(request: Request) -> Response:
            request_head.check(request)
            if request.method in SAFE_METHODS:
                return await work(request)
            await own_origin(request, request.app.state.settings)
            async with opened(request, permission) as whole:
                return await work(whole)

        return handle


def takes_file(dependant: Dependant) -> bool:
    return any(field.field_info.annotation is UploadFile for field in dependant.body_params)


def takes_stream(route: APIRoute) -> bool:
    """Whether the route's work reads the bytes as they come: a part of a file whose place is known."""
    return BYTES in (route.openapi_extra or {}).get("requestBody", {}).get("content", {})


# ---------------------------------------------------------------- headers and body


@asynccontextmanager
async def _whole(request: Request, permission: Permission | Public | None) -> AsyncIterator[Request]:
    """With its body in memory."""
    size = _declared(request)
    if isinstance(permission, Permission) and (size is None or size > LITTLE):
        await _who(request, permission)
    yield await request.app.state.bodies.read(request)


@asynccontextmanager
async def _upload(request: Request, permission: Permission | Public | None) -> AsyncIterator[Request]:
    """With its form read and its file on the disk; a place among the uploads is held until the work is done."""
    assert isinstance(permission, Permission), "whoever sends a file is somebody"
    size = _length(request)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise invalid(
            [Problem(pointer="/file", message=Sentence("send-multipart", "Send the file as multipart/form-data."))]
        )
    settings = request.app.state.settings
    me = await _who(request, permission, lambda session, me: spend_upload(session, settings, me, size))
    with request.app.state.uploads.place(me.id, size):
        sent = Whole(request.scope, _paced(request).receive)
        async with sent.form(max_files=1, max_fields=MOST_FIELDS):
            yield sent


@asynccontextmanager
async def _streamed(request: Request, permission: Permission | Public | None) -> AsyncIterator[Request]:
    """With its body still to be read, in time; who sends it is known, and no transaction is held."""
    assert isinstance(permission, Permission), "whoever sends a file is somebody"
    size, settings = _length(request), request.app.state.settings
    me = request.scope[CALLER] = await _who(
        request, permission, lambda session, me: spend_bytes(session, settings, me, size)
    )
    request.scope[SESSION] = None
    with request.app.state.uploads.place(me.id, size):
        yield Request(request.scope, _paced(request).receive)


def _paced(request: Request) -> Arriving:
    state = request.app.state
    return Arriving(request.receive, state.settings.body_seconds, pace=state.uploads.pace)


async def _who(request: Request, permission: Permission, then: Then = lambda session, me: None) -> Someone:
    """The caller, if the route is theirs to use; `then` is done with them in the same transaction."""

    def enter() -> Someone:
        with get_sessions(request)() as session:
            me = permission.enter(request, session, request.app.state.settings)
            then(session, me)
            return me

    async with request.app.state.slots:
        return await run_in_threadpool(enter)


def _declared(request: Request) -> int | None:
    """The body's size by its headers; None when they do not say. Raises ApiError 413 for more than the route takes."""
    text = request.headers.get("content-length")
    if text is None:
        return None if "transfer-encoding" in request.headers else 0
    most = request.scope.get(MAX_BODY_SIZE_SCOPE_KEY)
    if most is not None and int(text) > most:
        raise too_large(most)
    return int(text)


def _length(request: Request) -> int:
    """The size of a file, which counts before it comes. Raises ApiError 411 where the headers do not say it."""
    size = _declared(request)
    if size is None:
        raise ApiError(
            411,
            "no-length",
            Sentence("no-length", "Say how large the file is: send a Content-Length, not a body in chunks."),
        )
    return size


# ---------------------------------------------------------------- the work


def _in_a_thread(route: APIRoute, solve: Handler) -> Handler:
    """`solve` in a worker thread; in a slot and with a transaction, if the route asks for one."""
    slots = _slots_of(route)
    entry = next((need for need in calls(route.dependant) if isinstance(need, Alone | Permission)), None)

    def work(request: Request) -> Response:
        with get_sessions(request)() as session:
            request.scope[SESSION] = session
            session.info[SETTINGS] = request.app.state.settings
            if entry is not None:
                request.scope[CALLER] = entry.enter(request, session, request.app.state.settings)
            response = _result(solve(request))
            finish(session, request)
        return response

    async def handle(request: Request) -> Response:
        if slots is None:
            return await run_in_threadpool(lambda: _result(solve(request)))
        taken: Slots = getattr(request.app.state, slots)
        async with taken:
            return await run_in_threadpool(work, request)

    return handle


def _slots_of(route: APIRoute) -> str | None:
    """Claims, judgements and new jobs never queue behind an import; making a job may mean to freeze its data first."""
    needs = list(calls(route.dependant))
    if any(isinstance(need, Alone) for need in needs):
        return "claim_slots"
    if any(isinstance(need, Spends) and need.quota is Quota.JOBS for need in needs):
        return "job_slots"
    return "slots" if asks_database(route.dependant) else None


def _at_once(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The same as a coroutine, which FastAPI runs where it is, instead of in another thread."""

    @functools.wraps(endpoint)
    async def run(**given: Any) -> Any:
        return endpoint(**given)

    return run


def _result(work: Coroutine[Any, Any, Response]) -> Response:
    """What a coroutine returns that waits for nothing, without an event loop."""
    try:
        work.send(None)
    except StopIteration as end:
        response: Response = end.value
        return response
    work.close()
    raise RuntimeError("a dependency waits for the event loop; in a worker thread there is none")


def as_json(shown: BaseModel, status: int = 200) -> Response:
    return Response(shown.model_dump_json(), status, media_type="application/json")


def check_doors(routes: Sequence[BaseRoute]) -> None:
    """Raise RuntimeError for a route that has no door, or has what would wait in its thread."""
    for context in iter_route_contexts(routes):
        route = context.original_route
        if not isinstance(route, APIRoute):
            continue
        if not isinstance(route, DoorRoute):
            raise RuntimeError(f"{route.path} has no door: give its router route_class=DoorRoute.")
        for need in calls(context.dependant):
            if not any(map(inspect.iscoroutinefunction, (need, type(need).__call__))):
                raise RuntimeError(f"{route.path} depends on {need}, which would take another thread: make it async.")
        if route.waits and asks_database(context.dependant) and not takes_stream(route):
            raise RuntimeError(f"{route.path} is async and would hold a transaction on the event loop: make it def.")
