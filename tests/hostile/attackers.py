"""The combined attack: half requests, half bodies, bombs of JSON, uploads of gigabytes and guesses, all at once.

    python -m tests.hostile.attackers < PLAN.json

A process of its own, so that its share of the CPU can be told from the service's; it attacks 127.0.0.1 alone, and ends
by itself. A line says that it begins; what it was told comes out as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import uvloop

HOST = "127.0.0.1"
JSON = "Content-Type: application/json"
ROW = b'{"prompt": "Why do tides turn?", "chosen": "The moon pulls at the sea.", "rejected": "Nobody knows."}\n'
CHUNK = ROW * (2**20 // len(ROW))
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
KIND = b'--b\r\nContent-Disposition: form-data; name="kind"\r\n\r\npreferences\r\n'
END = b"\r\n--b--\r\n"
SIGN_IN_BOMB = json.dumps({f"key {number}": [] for number in range(200_000)}).encode()  # 3.5 MB
WORK_BOMB = json.dumps({"payload": {f"{number}": 0 for number in range(20_000)}}).encode()[:250_000]
RULES_BOMB = b'{"name": "x", "forms": [' + b"{}," * 300_000 + b"{}]}"
STATUS = slice(9, 12)  # in the first line of an answer
GUESSES = 20  # of each volley, at the account of the known device


@dataclass(frozen=True)
class Plan:
    """Whom to attack and how hard; `every` is the seconds from one volley to the next."""

    port: int
    seconds: float
    every: float
    annotator: str  # their keys
    engineers: list[str]
    email: str
    half_bodies: int
    half_requests: int
    bombs: int
    uploads: int
    upload_bytes: int


@dataclass
class Told:
    """How often what was answered, by kind of attack; `cut` is a connection that ended without an answer."""

    answers: dict[str, Counter[str]] = field(default_factory=dict)
    sent: int = 0  # bytes of uploads

    def note(self, kind: str, answer: object) -> None:
        self.answers.setdefault(kind, Counter())[str(answer)] += 1


class Half(asyncio.Protocol):
    """A connection that sends a beginning and no more."""

    def __init__(self, start: bytes) -> None:
        self.start, self.answer = start, b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        transport.write(self.start)

    def data_received(self, data: bytes) -> None:
        self.answer += data
        if len(self.answer) >= STATUS.stop:
            self._end()

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(self.answer[STATUS].decode() or "cut")


async def attack(plan: Plan) -> Told:
    """Until its time is over."""
    told, started = Told(), list[asyncio.Task[None]]()

    def start(work: Awaitable[None]) -> None:
        started.append(asyncio.ensure_future(work))  # type: ignore[arg-type]

    for number in range(plan.uploads):
        start(upload(plan, told, plan.engineers[number % len(plan.engineers)]))
    for number in range(plan.half_bodies):
        start(half_body(plan, told, number))
    start(volleys(plan, told, start))
    await asyncio.sleep(plan.seconds)
    for task in started:
        task.cancel()
    for ended in await asyncio.gather(*started, return_exceptions=True):
        if isinstance(ended, Exception):
            told.note("broken", repr(ended))
    return told


async def volleys(plan: Plan, told: Told, start: Any) -> None:
    """Half requests, bombs and guesses at once, and again."""
    while True:
        for number in range(plan.half_requests):
            start(half_request(plan, told, number))
            if number % 100 == 0:
                await asyncio.sleep(0)
        for number in range(plan.bombs):
            start(bomb(plan, told, number))
        start(guesses(plan, told))
        await asyncio.sleep(plan.every)


async def half_request(plan: Plan, told: Told, number: int) -> None:
    starts = (b"", b"G", b"GET /healthz HTTP/1.1\r\n", f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n".encode())
    told.note("half requests", await _half(plan.port, starts[number % len(starts)]))


async def half_body(plan: Plan, told: Told, number: int) -> None:
    """Again and again: whenever one is cut, the next one comes."""
    forms = ("/login", "/projects/00000000-0000-0000-0000-000000000001/annotate")
    paths = ("/v1/submissions", "/v1/session", *forms)
    path = paths[number % len(paths)]
    kind = "Content-Type: application/x-www-form-urlencoded" if path in forms else JSON
    while True:
        told.note("half bodies", await _half(plan.port, _head(path, 1000, plan.annotator, kind)))


async def bomb(plan: Plan, told: Told, number: int) -> None:
    """Every other one by somebody who is signed in."""
    anonymous = (SIGN_IN_BOMB, "/v1/session", "")
    signed_in = ((WORK_BOMB, "/v1/submissions", plan.annotator), (RULES_BOMB, "/v1/projects", plan.engineers[0]))
    body, path, key = anonymous if number % 2 else signed_in[number // 2 % 2]
    told.note(f"bombs at {path}", await _half(plan.port, _head(path, len(body), key, JSON) + body))


async def guesses(plan: Plan, told: Told) -> None:
    for number in range(GUESSES):
        body = json.dumps({"email": plan.email, "password": f"wrong {number}"}).encode()
        told.note("guesses", await _half(plan.port, _head("/v1/session", len(body), "", JSON) + body))


async def _half(port: int, start: bytes) -> str:
    """What a connection is told that sends this and nothing more."""
    try:
        line, half = await asyncio.get_running_loop().create_connection(lambda: Half(start), HOST, port)
    except OSError as error:
        await asyncio.sleep(1)
        return error.__class__.__name__
    try:
        return str(await half.ended)
    finally:
        line.abort()


async def upload(plan: Plan, told: Told, key: str) -> None:
    """As fast as the service takes it; and again, when it was told what it was worth."""
    kind = "Content-Type: multipart/form-data; boundary=b"
    while True:
        reader, writer = await asyncio.open_connection(HOST, plan.port)
        answer = asyncio.ensure_future(reader.read(STATUS.stop))
        writer.write(_head("/v1/datasets", plan.upload_bytes, key, kind) + KIND + FILE)
        left = plan.upload_bytes - len(KIND + FILE + END)
        try:
            while left and not answer.done():
                writer.write(piece := CHUNK[:left])
                left, told.sent = left - len(piece), told.sent + len(piece)
                await writer.drain()
            writer.write(END)
            told.note("uploads", (await answer)[STATUS].decode() or "cut")
        except OSError as error:
            told.note("uploads", error.__class__.__name__)
        finally:
            answer.cancel()
            writer.transport.abort()
        await asyncio.sleep(1)


def _head(path: str, size: int, key: str, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {size}", *more]
    lines += [f"Authorization: Bearer {key}"] if key else []
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


if __name__ == "__main__":
    plan = Plan(**json.load(sys.stdin))
    print("it begins", flush=True)
    print(json.dumps(vars(uvloop.run(attack(plan)))))
