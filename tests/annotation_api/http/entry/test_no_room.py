"""No room for what is on its way, on the disk or in memory: said in words, and nothing is half there."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette import formparsers
from starlette.requests import Request

from annotation_api.db.tables import Role
from annotation_api.http.entry.bodies import Bodies
from annotation_api.http.entry.uploads import SPARE
from annotation_api.http.errors import ApiError
from annotation_api.processes import parts
from annotation_api.processes.part import Part
from annotation_api.settings import Settings

As = Callable[..., TestClient]
FILE = {"file": ("a.csv", b"prompt,chosen,rejected\r\nQ?,a,b\r\n")}
OCTETS = {"Content-Type": "application/octet-stream"}


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def home(app: FastAPI, tmp_path: Path) -> Path:
    app.state.settings = app.state.settings.model_copy(update={"home": tmp_path})
    return tmp_path


def left(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))


def of_a_model(client: TestClient) -> str:
    return f"/v1/model-uploads/{client.post('/v1/model-uploads', json={'name': 'm'}).json()['id']}"


def refused(answer: Any) -> str:
    assert (answer.status_code, answer.json()["type"]) == (507, "urn:rankloop:no-space"), answer.text
    return str(answer.json()["detail"])


def test_a_file_without_room_is_refused_before_it_comes(as_: As, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engineer = as_(Role.ENGINEER)
    model = of_a_model(engineer)
    left(SPARE + 10, monkeypatch)
    asked = (
        engineer.post("/v1/datasets", data={"kind": "preferences"}, files=FILE),
        engineer.put(f"{model}/files/config.json", content=b"{}" * 100, headers=OCTETS),
    )
    assert all("the server has room for 10." in refused(answer) for answer in asked)
    assert engineer.put(f"{model}/files/config.json", content=b"{}", headers=OCTETS).status_code == 200


def test_a_disk_that_fills_while_a_file_comes_is_no_fault_of_ours(
    as_: As, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engineer = as_(Role.ENGINEER)
    model = of_a_model(engineer)
    before = engineer.get("/v1/datasets").json()
    with monkeypatch.context() as patch:
        patch.setattr(formparsers.SpooledTemporaryFile, "write", full)
        assert "not stored" in refused(engineer.post("/v1/datasets", data={"kind": "preferences"}, files=FILE))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert "cannot keep" in refused(engineer.put(f"{model}/files/config.json", content=b"{}", headers=OCTETS))
    assert engineer.get("/v1/datasets").json() == before
    assert engineer.put(f"{model}/files/config.json", content=b"{}", headers=OCTETS).status_code == 200
    assert engineer.post("/v1/datasets", data={"kind": "preferences"}, files=FILE).status_code == 201


def test_of_too_many_bodies_the_oldest_gives_way() -> None:
    async def slow(*pieces: bytes) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        await asyncio.sleep(60)

    async def crowd() -> tuple[object, bytes, int]:
        bodies, scope = Bodies(seconds=30, most=100), {"type": "http", "method": "POST", "headers": []}
        oldest = asyncio.ensure_future(bodies.read(Request(scope, _receive(slow(b"x" * 60)))))
        await asyncio.sleep(0)
        newest = await bodies.read(Request(scope, _receive(_whole(b"y" * 50))))
        (told,) = await asyncio.gather(oldest, return_exceptions=True)
        return told, await newest.body(), bodies.held

    told, body, held = asyncio.run(crowd())
    assert isinstance(told, ApiError)
    assert told.status == 408
    assert (body, held) == (b"y" * 50, 0)


async def _whole(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _receive(pieces: AsyncIterator[bytes]) -> Callable[[], Any]:
    async def receive() -> dict[str, Any]:
        try:
            return {"type": "http.request", "body": await anext(pieces), "more_body": True}
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}

    return receive


def test_uploads_are_on_the_homes_disk_unless_told_otherwise(tmp_path: Path) -> None:
    """Also under `rankloop up`; in /tmp they would be memory on many machines."""
    settings = Settings(home=tmp_path)
    assert parts.environment(Part.API, settings, {})["TMPDIR"] == str(tmp_path)
    assert parts.environment(Part.API, settings, {"TMPDIR": "/big"})["TMPDIR"] == "/big"
    assert "TMPDIR" not in parts.environment(Part.DISPATCHER, settings, {})
