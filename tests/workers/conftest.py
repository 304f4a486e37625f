"""A database, a home folder and the processes of one test, all real."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine

from tests.workers.world import World


@pytest.fixture
def world(fresh_database: str, fresh_engine: Engine, tmp_path: Path, factory: Any) -> Iterator[World]:
    """Whatever the test leaves running is ended, launchers too."""
    world = World(fresh_database, fresh_engine, tmp_path, factory)
    yield world
    for process in world.processes:
        process.terminate()
    for process in world.processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get("RANKLOOP_HOME") == str(tmp_path):
            process.kill()
