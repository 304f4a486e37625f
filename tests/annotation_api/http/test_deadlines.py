"""A crowd that came together is not cut off together."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from starlette.requests import Request
from starlette.types import Message

from annotation_api.http.entry import wire
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


def spread_out(ends: list[float]) -> None:
    """Nobody has less than was promised, and no tenth of a second sees more than a fifth of them end."""
    assert len(ends) == CROWD
    assert min(ends) >= SECONDS
    in_tenths = [int(10 * end) for end in ends]
    assert max(map(in_tenths.count, in_tenths)) < CROWD / 5, in_tenths
