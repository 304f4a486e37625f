"""Real dispatcher, real launchers, real Ray, real Postgres; only the stage is a stub."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from alignment import checkpoint
from annotation_api.db.tables import JobState
from tests.workers.world import World, poll

pytestmark = [pytest.mark.ray, pytest.mark.postgres]
SLOW = {"steps": 600, "seconds": 0.1}  # a minute: time enough to kill something in the middle


def test_a_job_ends_with_an_artifact_a_model_version_and_nothing_left_over(world: World) -> None:
    job_id = world.job({"steps": 5})
    dispatcher = world.dispatcher()
    job = world.wait(job_id)

    assert job.state is JobState.SUCCEEDED, world.report()
    (version,) = world.versions(job_id)
    manifest = checkpoint.verify(Path(version.path))
    assert set(manifest["files"]) == {"model.safetensors", "result.json"}
    assert (version.kind, version.metrics, job.result["model"]) == ("sft", {"loss": 0.25}, str(version.id))
    assert [event["metrics"] for event in world.events(job_id, "progress")][-1] == {"loss": 0.2}
    assert job.progress["device"] == "cpu"
    assert world.metrics(job_id) == {1: 1.0, 2: 0.5, 3: 1 / 3, 4: 0.25, 5: 0.2}
    assert world.events(job_id, "samples") == [{"step": 5, "rows": [{"prompt": "hello", "response": "world"}]}]
    (note,) = world.events(job_id, "note")
    assert "sees ['HF_HUB_OFFLINE'], 1 threads" in note["message"]  # no database credentials

    poll(lambda: not list((world.home / "staging").iterdir()), "an empty staging folder")
    poll(lambda: not psutil.Process(dispatcher.pid).children(recursive=True), "the launcher and its Ray to end")


def test_a_killed_dispatcher_disturbs_nothing_and_its_successor_takes_the_next_job(world: World) -> None:
    job_id = world.job({"steps": 40, "seconds": 0.1})
    world.dispatcher().kill()  # at any moment of its start: a successor must cope
    first = world.dispatcher()
    launcher = world.launcher(world.running(job_id))
    first.kill()
    first.wait()
    second_job = world.job({"steps": 1})
    world.dispatcher()
    assert launcher.is_running()
    assert world.read(second_job).state is JobState.QUEUED  # the orphan still has the only slot

    assert world.wait(job_id).epoch == 1
    assert world.wait(second_job).state is JobState.SUCCEEDED
    assert len(world.versions(job_id)) == 1


def test_a_killed_launcher_leaves_no_process_and_its_job_is_run_again(world: World) -> None:
    job_id = world.job(SLOW)
    world.dispatcher()
    launcher = world.launcher(world.running(job_id))
    tree = launcher.children(recursive=True)
    assert {"gcs_server", "raylet"} <= {process.name() for process in tree}
    world.hurry()
    launcher.kill()

    _, alive = psutil.wait_procs(tree, timeout=5)
    assert alive == []
    job = world.wait(job_id)
    assert (job.state, job.epoch, len(world.versions(job_id))) == (JobState.SUCCEEDED, 2, 1), world.report()
    poll(lambda: not list((world.home / "staging").iterdir()), "the dead attempt's staging folder to be swept")


def test_a_killed_actor_is_a_crash_that_is_tried_again(world: World) -> None:
    job_id = world.job(SLOW)
    world.dispatcher()
    world.running(job_id)
    world.hurry()
    world.actor(job_id).kill()

    job = world.wait(job_id)
    assert (job.state, job.epoch, len(world.versions(job_id))) == (JobState.SUCCEEDED, 2, 1), world.report()
    queued = [event for event in world.events(job_id, "state") if event["state"] == "queued" and "error" in event]
    assert [event["error"]["kind"] for event in queued] == ["crash"]


def test_a_zombie_launcher_writes_nothing(world: World) -> None:
    """Stopped, its job taken back, then continued: it must notice and end, and its actor with it."""
    job_id = world.job(SLOW)
    dispatcher = world.dispatcher()
    job = world.running(job_id)
    launcher, actor = world.launcher(job), world.actor(job_id)
    dispatcher.kill()
    launcher.suspend()
    world.expire(job_id)
    world.hurry()
    world.dispatcher(RANKLOOP_SLOTS="2")

    assert world.wait(job_id).epoch == 2
    before = world.counts(job_id)
    launcher.resume()
    psutil.wait_procs([launcher, actor], timeout=20)
    assert not launcher.is_running()
    assert not actor.is_running()
    assert world.counts(job_id) == before
    assert len(world.versions(job_id)) == 1


def test_a_database_that_goes_away_for_a_while_costs_nothing(world: World) -> None:
    job_id = world.job({"steps": 50, "seconds": 0.1})
    world.dispatcher()
    world.running(job_id)
    with world.closed_database():
        poll(lambda: world.report().count("Waiting for Postgres") >= 2, "dispatcher and launcher to notice")

    job = world.wait(job_id)
    assert (job.state, job.epoch) == (JobState.SUCCEEDED, 1), world.report()
    assert len(world.metrics(job_id)) == 50
    assert "Postgres is back." in world.report()


def test_cancel_stops_the_stage_and_keeps_nothing(world: World) -> None:
    job_id = world.job(SLOW)
    world.dispatcher()
    world.running(job_id)
    world.cancel(job_id)

    job = world.wait(job_id, JobState.CANCELLED)
    assert job.error["kind"] == "cancelled"
    assert world.versions(job_id) == []
    poll(lambda: not list((world.home / "staging").iterdir()), "an empty staging folder")


def test_sigterm_ends_the_launchers_and_their_jobs_are_queued(world: World) -> None:
    job_id = world.job(SLOW)
    dispatcher = world.dispatcher()
    launcher = world.launcher(world.running(job_id))
    dispatcher.send_signal(signal.SIGTERM)

    assert dispatcher.wait(20) == 0
    assert not launcher.is_running()
    job = world.read(job_id)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)  # a planned stop uses up no attempt


def test_a_fault_of_the_stage_ends_the_job_with_its_cause_and_log(world: World) -> None:
    job_id = world.job({"steps": 3, "fault": "bug"})
    world.dispatcher()
    job = world.wait(job_id, JobState.FAILED)

    assert (job.error["kind"], job.attempts) == ("internal", 1)
    assert job.error["cause"] == "An unexpected ZeroDivisionError: a fault of ours"
    assert "stub.py" in job.error["traceback"]
    assert "The inputs are there." in job.error["log"]
    assert world.versions(job_id) == []
