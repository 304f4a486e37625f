"""How the dispatcher and the launcher refuse to start."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from sqlalchemy import text

from annotation_api.db.engine import make_engine
from tests.support.engine_room import PATIENCE, World


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RANKLOOP_")}
    return subprocess.run(
        [sys.executable, "-m", *command], env=clean | environment, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "RANKLOOP_DATABASE_URL is not set"),
        ("mysql://localhost/x", "postgresql://user:password@host:5432/name"),
        ("postgresql://me:hush@127.0.0.1:1/none", "Postgres at 127.0.0.1:1, database none cannot be reached"),
    ],
)
def test_a_wrong_database_url_is_one_sentence_and_exit_1(url: str, words: str, tmp_path: Path) -> None:
    result = run("workers", RANKLOOP_DATABASE_URL=url, RANKLOOP_HOME=str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "hush" not in result.stderr


def test_a_database_without_tables_is_refused_with_the_command_that_mends_it(
    fresh_database: str, tmp_path: Path
) -> None:
    with make_engine(fresh_database).begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    result = run("workers", RANKLOOP_DATABASE_URL=fresh_database, RANKLOOP_HOME=str(tmp_path))
    assert result.returncode == 1
    assert "rankloop migrate" in result.stderr


def test_zero_slots_are_refused(tmp_path: Path) -> None:
    result = run("workers", RANKLOOP_SLOTS="0", RANKLOOP_HOME=str(tmp_path))
    assert (result.returncode, "RANKLOOP_SLOTS" in result.stderr) == (1, True)


def test_a_launcher_without_a_claim_writes_nothing(world: World) -> None:
    """It may come late: its job was taken back, claimed by another, or never existed."""
    job_id = world.job()
    launcher = world.start("-m", "workers.attempt.launcher", str(job_id), "1")
    assert launcher.wait(PATIENCE) == 3
    assert "no longer holds job" in world.report()
    assert not (world.home / "staging").exists()
    assert run("workers.attempt.launcher", "nonsense").stderr.startswith("usage: ")
    assert world.start("-m", "workers.attempt.launcher", str(uuid.uuid4()), "1").wait(PATIENCE) == 3


def test_the_process_of_a_stage_knows_neither_the_database_nor_ray() -> None:
    code = "import sys, workers.stage.process; print({'sqlalchemy', 'psycopg', 'ray', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
