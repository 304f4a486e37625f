"""A small run of the desk under fire, with a real API process that is killed on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


@pytest.mark.postgres
def test_clients_that_vanish_and_a_killed_api_leave_every_task_with_exactly_its_judgements() -> None:
    command = [sys.executable, "-m", "tests.journey.desk_chaos", "--tasks", "60", "--clients", "12", "--kills", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killing the API after" in done.stdout
