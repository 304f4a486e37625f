"""Around every request: an id, the headers that browsers obey, a last net under our own faults; its line in the
log and its place in the metrics."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
import uuid

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from annotation_api import logs
from annotation_api.http import metrics
from annotation_api.http.errors import PROBLEM_JSON, PageRenderer, answer, internal, too_large, unknown_host
from annotation_api.http.scopes import PERSON, REQUEST, route_of

log = logging.getLogger("rankloop.api")
access = logging.getLogger("rankloop.request")

SECURITY_HEADERS = {
    # No inline script or style, nothing from elsewhere: model text that slips through as HTML stays inert.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # set-up and join links carry tokens in their paths
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # a caller's own X-Request-ID that is taken over
TAGGED = ("/v1/", "/openapi.json")  # GET answers with an ETag
CLOSED = 499  # what the log says of a request whose caller left before an answer


class RequestGuard:
    """Adds the headers; turns an exception that nobody caught into a 500 without its internals, logged.

    A person in a browser gets that as a `page`.
    """

    def __init__(self, app: ASGIApp, *, tls: bool, page: PageRenderer) -> None:
        self.app, self.page = app, page
        self.headers = dict(SECURITY_HEADERS)
        if tls:
            self.headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope[REQUEST] = _request_id(scope)
        with logs.about(request=request_id):
            await self._guard(scope, receive, send, request_id)

    async def _guard(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        answered = Answered()
        instead: bytes | None = None

        async def guarded_send(message: Message) -> None:
            nonlocal instead
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                self._dress(headers, scope["path"], request_id)
                answered.started(message["status"], headers)
                if headers.get("content-type", "").startswith("text/plain"):  # a library below answers by itself
                    instead = _instead(message["status"], scope)
                if instead is not None:
                    headers.update({"Content-Type": PROBLEM_JSON, "Content-Length": str(len(instead))})
            elif instead is not None:
                message = {**message, "body": instead}
            await send(message)

        try:
            await self.app(scope, receive, guarded_send)
        except ClientDisconnect:
            log.debug("request %s: nobody is there to be answered; the log says %d", request_id, CLOSED)
        except Exception:
            log.exception("request %s: %s %s failed", request_id, scope["method"], route_of(scope))
            if answered.status is not None:  # the answer is half out: the server must cut the connection
                raise
            response = await run_in_threadpool(self._fault, Request(scope), request_id)
            await response(scope, receive, guarded_send)
        finally:
            answered.tell(scope)

    def _fault(self, request: Request, request_id: str) -> Response:
        error = internal(request_id)
        try:
            return answer(self.page, request, error)
        except Exception:
            log.exception("request %s: the page that should say so failed, too", request_id)
            return error.response()

    def _dress(self, headers: MutableHeaders, path: str, request_id: str) -> None:
        for name, value in self.headers.items():
            headers.setdefault(name, value)
        headers["X-Request-ID"] = request_id
        if not path.startswith("/static/"):
            headers.setdefault("Cache-Control", "no-store")  # pages and answers are one person's


class Answered:
    """What is told of a request when it is over: to the log and to the metrics."""

    def __init__(self) -> None:
        self.status: int | None = None
        self._began = time.perf_counter()
        self._seconds: float | None = None

    def started(self, status: int, headers: MutableHeaders) -> None:
        """The answer begins. A stream of events lasts as long as somebody looks, so its time ends here."""
        self.status = status
        if headers.get("content-type", "").startswith("text/event-stream"):
            self._seconds = time.perf_counter() - self._began

    def tell(self, scope: Scope) -> None:
        if scope["path"].startswith("/static/"):
            return
        seconds = self._seconds if self._seconds is not None else time.perf_counter() - self._began
        method, route, status = scope["method"], route_of(scope), self.status or CLOSED
        metrics.count_request(method, route, status, seconds)
        fields = {"method": method, "route": route, "status": status, "milliseconds": round(seconds * 1000, 1)}
        access.info(
            "%s %s %d in %.1f ms", method, route, status, seconds * 1000, extra={**fields, "person": scope.get(PERSON)}
        )


def _request_id(scope: Scope) -> str:
    """The caller's, if it looks like one, so that its log and ours can be read together; else a new one."""
    for name, value in scope["headers"]:
        given = str(value, "latin-1") if name == b"x-request-id" else ""
        if SANE_ID.fullmatch(given):
            return given
    return uuid.uuid4().hex[:16]


def _instead(status: int, scope: Scope) -> bytes | None:
    """A problem in place of what a library below answers as plain text."""
    if status == 400:
        return json.dumps(unknown_host().body()).encode()
    return json.dumps(too_large(scope.get(MAX_BODY_SIZE_SCOPE_KEY)).body()).encode() if status == 413 else None


class ETags:
    """`ETag` on what GET answers as JSON, and 304 to a caller who has it: a program that polls gets no body again."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tagged = scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(TAGGED)
        await self.app(scope, receive, Tagging(scope, send) if tagged else send)


class Tagging:
    """Holds the start of a JSON answer back until its body is there."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.known = Headers(scope=scope).get("if-none-match", "")
        self.send = send
        self.start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_json(message):
            self.start = message
        elif self.start is None:
            await self.send(message)
        else:
            await self._answer(self.start, message)
            self.start = None

    async def _answer(self, start: Message, body: Message) -> None:
        if body.get("more_body"):  # it comes in pieces: nothing is held back
            await self.send(start)
            await self.send(body)
            return
        tag = f'"{hashlib.sha256(body["body"]).hexdigest()[:32]}"'
        headers = MutableHeaders(scope=start)
        headers["ETag"] = tag
        if tag in self.known or self.known.strip() == "*":
            start["status"] = 304
            del headers["content-length"], headers["content-type"]
            body = {**body, "body": b""}
        await self.send(start)
        await self.send(body)


def _is_json(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    return start["status"] == 200 and headers.get("content-type") == "application/json" and "etag" not in headers
