"""A crowd that came together is not cut off together, and files come no faster than others can bear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.types import Message

from annotation_api.db.tables import Role
from annotation_api.http.entry import uploads, wire
from annotation_api.http.entry.bodies import Bodies
from annotation_api.http.errors import ApiError

CROWD, SECONDS = 200, 10.0


async def silence() -> Message:
    raise TimeoutError


def test_the_ends_of_bodies_that_began_at_once_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def deadlines() -> list[float]:
        bodies, found = Bodies(SECONDS), list[float]()
        now = asyncio.get_running_loop().time()
        wait = asyncio.timeout_at
        monkeypatch.setattr(asyncio, "timeout_at", lambda when: found.append(when - now) or wait(when))
        for _ in range(CROWD):
            with suppress(ApiError):
                await bodies.read(Request({"type": "http", "method": "POST", "headers": []}, silence))
        return found

    spread_out(asyncio.run(deadlines()))


def test_the_ends_of_heads_that_began_at_once_are_spread() -> None:
    async def deadlines() -> list[float]:
        loop = asyncio.get_running_loop()
        doormen = [wire.Doorman(server_state=type("State", (), {"connections": set()})) for _ in range(CROWD)]
        now = loop.time()
        for doorman in doormen:
            doorman.connection_made(asyncio.Transport())
        ends = [doorman._timer.when() - now for doorman in doormen]
        for doorman in doormen:
            doorman.connection_lost(None)
        return [end * SECONDS / wire.HEAD_SECONDS for end in ends]

    spread_out(asyncio.run(deadlines()))


def test_all_uploads_share_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def two_files(places: uploads.Uploads) -> None:
        for _ in range(8):
            await asyncio.gather(*(places.pace(uploads.RATE // 4) for _ in range(2)))

    places = uploads.Uploads()
    monkeypatch.setattr(
        uploads, "asyncio", SimpleNamespace(sleep=sleep, get_running_loop=lambda: SimpleNamespace(time=lambda: 5.0))
    )
    asyncio.run(two_files(places))
    assert waited == [quarter / 4 for quarter in range(1, 17)]


def test_each_byte_of_a_file_is_paced(app: FastAPI, as_: Callable[..., TestClient]) -> None:
    paced: list[int] = []

    async def pace(size: int) -> None:
        paced.append(size)

    app.state.uploads.pace = pace
    engineer = as_(Role.ENGINEER)
    engineer.post("/v1/datasets", files={"file": ("a.csv", b"prompt,chosen,rejected\r\nQ?,a,b\r\n")})
    form = sum(paced)
    upload = engineer.post("/v1/model-uploads", json={"name": "m"}).json()["id"]
    octets = {"Content-Type": "application/octet-stream"}
    engineer.put(f"/v1/model-uploads/{upload}/files/config.json", content=b"{}", headers=octets)
    assert form > 40
    assert sum(paced) == form + 2


def spread_out(ends: list[float]) -> None:
    """Nobody has less than was promised, and no tenth of a second sees more than a fifth of them end."""
    assert len(ends) == CROWD
    assert min(ends) >= SECONDS
    in_tenths = [int(10 * end) for end in ends]
    assert max(map(in_tenths.count, in_tenths)) < CROWD / 5, in_tenths
