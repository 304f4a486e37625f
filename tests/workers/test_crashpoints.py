"""Every place where a process may be killed is one that a job gets over, with one artifact and nothing doubled."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from alignment.shared import artifact
from annotation_api.db.tables import JobState
from tests.support.engine_room import PATIENCE, World, poll
from workers.crashpoints import POINTS, crash_point

LAUNCHERS = POINTS.index("after_inputs")  # from here on it is a launcher that dies


@pytest.mark.postgres
def test_a_kill_at_any_line_loses_nothing_and_doubles_nothing(world: World) -> None:
    """At each point a dispatcher or a launcher dies; then all jobs are left alone."""
    jobs = [world.job({"steps": 4, "save_every": 2}, max_attempts=20) for _ in POINTS]
    for point in POINTS[:LAUNCHERS]:
        assert world.dispatcher(RANKLOOP_CRASH_POINT=point).wait(PATIENCE) == -9, world.report()
    launchers = [world.claimed_launcher(RANKLOOP_CRASH_POINT=point) for point in POINTS[LAUNCHERS:]]
    assert [launcher.wait(PATIENCE) for launcher in launchers] == [-9] * len(launchers), world.report()
    for launcher in launchers:
        world.expire(uuid.UUID(launcher.args[-2]))
    world.dispatcher(RANKLOOP_SLOTS="3")

    for job_id in jobs:
        job = world.wait(job_id)
        assert job.state is JobState.SUCCEEDED, world.report()
        (version,) = world.versions(job_id)
        assert set(artifact.verify(Path(version.path))["files"]) == {"README.md", "model.safetensors", "result.json"}
    # Three kills cost no attempt: nothing was claimed yet, the launcher was on its way, or had committed.
    assert sum(len(world.attempts(job_id)) for job_id in jobs) == len(jobs) + len(POINTS) - 3
    poll(lambda: not list((world.home / "staging").iterdir()), "an empty staging folder")
    poll(lambda: len(list(world.home.glob("artifacts/*/*"))) == len(jobs), "stray artifacts to be swept")
    poll(lambda: not list((world.home / "checkpoints").iterdir()), "the checkpoints to be swept")


def run(asked: str, name: str) -> subprocess.CompletedProcess[str]:
    code = f"from workers.crashpoints import crash_point; crash_point({name!r}); print('alive')"
    environment = {"RANKLOOP_CRASH_POINT": asked} if asked else {}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("asked", ["", "after_commit", "before_claim:0", "*:0.0"])
def test_a_point_that_is_not_asked_for_does_nothing(asked: str) -> None:
    assert run(asked, "before_claim").stdout == "alive\n"


@pytest.mark.parametrize("asked", ["before_claim", "before_*:1.0", "*"])
def test_a_point_that_is_asked_for_kills(asked: str) -> None:
    died = run(asked, "before_claim")
    assert (died.returncode, died.stderr) == (-9, "crash point before_claim\n")


def test_names_that_there_are_not_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="nowhere is no crash point"):
        crash_point("nowhere")
    monkeypatch.setenv("RANKLOOP_CRASH_POINT", "after_claims")
    with pytest.raises(ValueError, match="names no crash point; there are before_claim"):
        crash_point("after_commit")
