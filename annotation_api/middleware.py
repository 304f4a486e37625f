"""Around every request: an id, the headers that browsers obey, and a last net under our own faults."""

from __future__ import annotations

import json
import logging
import uuid

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from annotation_api.errors import PROBLEM_JSON, internal, too_large

log = logging.getLogger("rankloop.api")

SECURITY_HEADERS = {
    # No inline script or style, nothing from elsewhere: model text that slips through as HTML stays inert.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # set-up and join links carry tokens in their paths
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


TOO_LARGE = json.dumps(too_large().body()).encode()


class RequestGuard:
    """Adds the headers; turns an exception that nobody caught into a 500 without its internals, logged."""

    def __init__(self, app: ASGIApp, *, tls: bool) -> None:
        self.app = app
        self.headers = dict(SECURITY_HEADERS)
        if tls:
            self.headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex[:16]
        started = plain_413 = False

        async def guarded_send(message: Message) -> None:
            nonlocal started, plain_413
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                self._dress(headers, scope["path"], request_id)
                plain_413 = message["status"] == 413 and headers["content-type"].startswith("text/plain")
                if plain_413:  # the server library's limit answers by itself
                    headers.update({"Content-Type": PROBLEM_JSON, "Content-Length": str(len(TOO_LARGE))})
            elif plain_413:
                message = {**message, "body": TOO_LARGE}
            await send(message)

        try:
            await self.app(scope, receive, guarded_send)
        except Exception:
            # The route, not the path: set-up and invitation links carry their token in the path.
            where = getattr(scope.get("route"), "path", "an unknown route")
            log.exception("request %s: %s %s failed", request_id, scope["method"], where)
            if started:  # the answer is half out: the server must cut the connection
                raise
            await internal(request_id).response()(scope, receive, guarded_send)

    def _dress(self, headers: MutableHeaders, path: str, request_id: str) -> None:
        for name, value in self.headers.items():
            headers.setdefault(name, value)
        headers["X-Request-ID"] = request_id
        if not path.startswith("/static/"):
            headers.setdefault("Cache-Control", "no-store")  # pages and answers are one person's
