"""The process of large freezes and erasures, on its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from workers.attempt.lease import EXIT_AWAY
from workers.dispatch.freezing import COMMAND


def test_it_leaves_its_work_to_the_next_while_postgres_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOOP_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("RANKLOOP_HOME", str(tmp_path))
    ended = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    said = ended.stdout + ended.stderr
    assert ended.returncode == EXIT_AWAY
    assert "Traceback" not in said
    assert "taken up again once Postgres is back" in said
