"""A database, a home folder and the processes of one test, all real; and a Ray head beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.engine_room import World
from tests.support.ray_head import Head


@pytest.fixture
def world(fresh_database: str, fresh_engine: Engine, tmp_path: Path, factory: Any) -> Iterator[World]:
    """Stages run in plain processes. Whatever the test leaves running is ended, launchers too."""
    world = World(fresh_database, fresh_engine, tmp_path, factory, {"RANKLOOP_EXECUTOR": "process"})
    yield world
    world.end()


@pytest.fixture(params=["process", pytest.param("ray", marks=pytest.mark.ray)])
def either(world: World, request: pytest.FixtureRequest) -> World:
    """The same world with each executor."""
    world.environment["RANKLOOP_EXECUTOR"] = request.param
    return world


@pytest.fixture(scope="module")
def two_gpus() -> Iterator[Head]:
    """A Ray head with two GPUs that do not exist, for tests that join it themselves."""
    with Head(gpus=2, token={"RAY_AUTH_MODE": "disabled"}) as head:
        yield head


@pytest.fixture(scope="module")
def one_gpu() -> Iterator[Head]:
    """A Ray head with one GPU that does not exist; a test that kills it starts it again."""
    with Head(gpus=1) as head:
        yield head
