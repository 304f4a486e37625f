"""`ETag` on what GET answers as JSON, and 304 to a caller who has it: a program that polls gets no body again."""

from __future__ import annotations

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TAGGED = ("/v1/", "/openapi.json")


class ETags:
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
