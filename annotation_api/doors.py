"""The door of every route: what is settled on a request's headers, then its body, then its work.

    router = APIRouter(prefix="/v1", route_class=DoorRoute)

A transaction is scarce and a body may be slow, so no route holds one while the other is on its way:

1. A request that another site made a browser send is refused.
2. Who sends more than LITTLE says first who they are, and is let in or not: on the headers, in a transaction of its
   own. So does everybody who sends a file; for that the declared size, the quota, a place and room on the disk are
   settled, too. What is public takes no more than FROM_ANYBODY.
3. The body is read whole and in time (`bodies`): into memory, a file to the disk.
4. FastAPI does the rest. It finds the body read, so `session: Db` waits for nobody.

`check_doors` keeps an app from starting that has a route without this door.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request, Response, UploadFile
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.routing import BaseRoute

from annotation_api.auth import Someone
from annotation_api.bodies import Arriving
from annotation_api.dependencies import Permission, Public, get_sessions, own_origin, permission_of
from annotation_api.errors import ApiError
from annotation_api.quotas import spend_upload
from annotation_api.scopes import SAFE_METHODS
from annotation_api.uploads import MAX_UPLOAD_BYTES

LITTLE = 64 * 2**10  # bytes that anybody may send before it is known who they are
FROM_ANYBODY = 4 * 2**10  # bytes that a public route takes: an address, a name and a password

MOST_FIELDS = 20  # beside a file

Then = Callable[[Session, Someone], None]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class DoorRoute(APIRoute):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if isinstance(permission_of(self.dependant), Public):
            self.max_body_size = FROM_ANYBODY
        elif takes_file(self.dependant):
            self.max_body_size = MAX_UPLOAD_BYTES

    def get_route_handler(self) -> Handler:
        work, permission = self.work(), permission_of(self.dependant)
        opened = _upload if takes_file(self.dependant) else _whole

        async def handle(request: Request) -> Response:
            if request.method in SAFE_METHODS:
                return await work(request)
            await own_origin(request, request.app.state.settings)
            async with opened(request, permission) as whole:
                return await work(whole)

        return handle

    def work(self) -> Handler:
        """What is done with a request that is whole."""
        return super().get_route_handler()


def takes_file(dependant: Dependant) -> bool:
    return any(field.field_info.annotation is UploadFile for field in dependant.body_params)


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
    size = _declared(request)
    if size is None:
        raise ApiError(411, "no-length", "Say how large the file is: send a Content-Length, not a body in chunks.")
    settings = request.app.state.settings
    me = await _who(request, permission, lambda session, me: spend_upload(session, settings, me, size))
    with request.app.state.uploads.place(me.id, size):
        sent = Request(request.scope, Arriving(request.receive, settings.body_seconds).receive)
        async with sent.form(max_files=1, max_fields=MOST_FIELDS):
            yield sent


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
        detail = f"The body has {int(text)} bytes; this path takes at most {most}."
        raise ApiError(413, "too-large", detail)
    return int(text)


def check_doors(routes: Sequence[BaseRoute]) -> None:
    """Raise RuntimeError for a route that is not a DoorRoute."""
    for context in iter_route_contexts(routes):
        route = context.original_route
        if isinstance(route, APIRoute) and not isinstance(route, DoorRoute):
            raise RuntimeError(f"{route.path} has no door: give its router route_class=DoorRoute.")
