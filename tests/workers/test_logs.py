"""What the processes of the engine room log: which attempt it is about, and no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from annotation_api.db.tables import JobState
from tests.support.engine_room import PATIENCE, World
from workers.staging import Folders


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def test_every_record_of_an_attempt_names_it(either: World) -> None:
    world = either
    world.dispatcher(RANKLOOP_LOG="json")
    job_id = world.job()
    world.wait(job_id, JobState.SUCCEEDED)
    world.processes[0].terminate()
    assert world.processes[0].wait(PATIENCE) == 0
    attempt = {"job": str(job_id), "epoch": 1}
    dispatched = [entry for entry in records(world.home / "test.log") if "job" in entry]
    assert {entry["process"] for entry in dispatched} == {"dispatcher"}
    assert {entry["message"].partition(" ")[0] for entry in dispatched} == {"Job", "The"}  # begun, ended
    log = Folders(world.home, job_id, 1).log
    told = records(log)
    assert {entry["process"] for entry in told} == {"launcher", "stage"}
    for entry in [*dispatched, *told]:
        assert {name: entry[name] for name in attempt} == attempt
    (looked,) = [entry["message"] for entry in told if entry["logger"] == "stub"]
    assert looked == "The stage looks at postgresql://me:***@db/x."


def test_the_log_of_an_attempt_is_text_for_people(world: World) -> None:
    world.dispatcher()
    job_id = world.job()
    world.wait(job_id, JobState.SUCCEEDED)
    words = Folders(world.home, job_id, 1).log.read_text()
    assert f"INFO The inputs are there.  [job={job_id} epoch=1]" in words
    assert "WARNING The stage looks at postgresql://me:***@db/x." in words
    assert '{"time"' not in words
