"""The command for a bare machine runs here, too, on small shapes: `python -m tests.gpu.check`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.gpu import check
from tests.gpu.bench import Bench

ABSENT = ("trl", "ray", "datasets", "fastapi", "sqlalchemy", "pytest")
BARE = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from tests.gpu import check
sys.exit(check.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_every_check_passes_on_a_cpu_without_what_a_bare_machine_lacks(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", BARE, "--minutes", "10", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = json.loads((tmp_path / "check.json").read_text())
    assert [row["name"] for row in rows] == list(check.checks())
    assert {row["state"] for row in rows} == {"ok"}
    assert len((tmp_path / "summary.txt").read_text().splitlines()) <= check.SUMMARY_LINES


def test_a_failure_is_a_row_and_so_is_what_there_was_no_time_for(tmp_path: Path) -> None:
    bench = Bench(torch.device("cpu"), tmp_path, small=True)

    def broken(bench: Bench) -> dict[str, int]:
        raise ValueError("it is\nbroken")

    rows = list(check.run(bench, {"a": broken, "b": lambda bench: {"n": 1}}, time.monotonic() + 60))
    assert [(row.name, row.state) for row in rows] == [("a", "failed"), ("b", "ok")]
    assert rows[0].said["error"] == "ValueError: it is"
    (late,) = check.run(bench, {"c": broken}, time.monotonic() - 1)
    assert late.state == "no time"
    many = [check.Row(f"row {n}", "ok", 0.1) for n in range(60)] + rows
    lines = check.summary(many).splitlines()
    assert len(lines) == check.SUMMARY_LINES
    assert lines[0] == "61 ok, 1 failed, 0 no time"
    assert lines[1].startswith("failed  a")
