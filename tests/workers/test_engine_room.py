"""Real dispatcher, real launchers, real Postgres; only the stage is a stub. Stages run in plain processes, and where
the executor makes a difference in Ray, too."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest
from sqlalchemy.orm import Session

from alignment.shared import artifact
from annotation_api.db import dispatchers
from annotation_api.db.tables import AttemptOutcome, JobState, RayState
from tests.support.engine_room import PATIENCE, World, poll

pytestmark = [pytest.mark.postgres]
RAY_RARELY = pytest.param(
    "ray", marks=[pytest.mark.ray, pytest.mark.deep(reason="Ray's executor has a test of its own of what it does here")]
)
SLOW = {"steps": 600, "seconds": 0.1, "save_every": 5}  # a minute: time enough to kill something in the middle


def test_a_job_ends_with_an_artifact_a_model_version_and_nothing_left_over(either: World) -> None:
    world = either
    job_id = world.job({"steps": 5})
    dispatcher = world.dispatcher()
    job = world.wait(job_id)

    assert job.state is JobState.SUCCEEDED, world.report()
    (version,) = world.versions(job_id)
    manifest = artifact.verify(Path(version.path))
    assert set(manifest["files"]) == {"README.md", "model.safetensors", "result.json"}
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


def test_a_killed_launcher_leaves_no_process_and_its_job_goes_on_from_a_checkpoint(either: World) -> None:
    world = either
    job_id = world.job(SLOW)
    world.dispatcher()
    launcher = world.launcher(world.running(job_id))
    poll(lambda: world.checkpoints(job_id), "a checkpoint")
    tree = launcher.children(recursive=True)
    assert world.actor(job_id) in tree
    world.hurry()
    launcher.kill()

    _, alive = psutil.wait_procs(tree, timeout=PATIENCE)
    assert alive == []
    job = world.wait(job_id)
    assert (job.state, job.epoch, len(world.versions(job_id))) == (JobState.SUCCEEDED, 2, 1), world.report()
    (begin,) = world.begins(job_id)
    assert begin >= 5
    poll(lambda: not list((world.home / "staging").iterdir()), "the dead attempt's staging folder to be swept")
    poll(lambda: not list((world.home / "checkpoints").iterdir()), "the checkpoints to be removed")
    poll(lambda: all(row.removed_at for row in world.checkpoints(job_id)), "their rows to say so")


def test_a_killed_stage_is_a_crash_that_is_tried_again(world: World) -> None:
    job_id = world.job(SLOW)
    world.dispatcher()
    world.running(job_id)
    world.hurry()
    world.actor(job_id).kill()

    job = world.wait(job_id)
    assert (job.state, job.epoch, len(world.versions(job_id))) == (JobState.SUCCEEDED, 2, 1), world.report()
    queued = [event for event in world.events(job_id, "state") if event["state"] == "queued" and "error" in event]
    assert [event["error"]["kind"] for event in queued] == ["crash"]
    assert queued[0]["error"]["cause"] == "The process that ran the stage died with signal 9."
    assert "The stage runs in process" in queued[0]["error"]["log"]


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
    psutil.wait_procs([launcher, actor], timeout=PATIENCE)
    assert not launcher.is_running()
    assert not actor.is_running()
    assert world.counts(job_id) == before
    assert len(world.versions(job_id)) == 1
    lost = world.attempts(job_id)[0]
    assert lost.outcome is AttemptOutcome.LOST
    assert "The stage runs in process" in lost.error["log"]


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

    assert dispatcher.wait(PATIENCE) == 0
    assert not launcher.is_running()
    job = world.read(job_id)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)  # a planned stop uses up no attempt
    assert artifact.verify(newest(world))  # and loses no step


def newest(world: World) -> Path:
    folders = world.home.glob("checkpoints/*/*/run/checkpoint-*")
    return max(folders, key=lambda folder: int(folder.name.rpartition("-")[2]))


@pytest.mark.parametrize("either", ["process", RAY_RARELY], indirect=True)
def test_a_paused_job_saves_gives_its_slot_away_and_goes_on_where_it_was(either: World) -> None:
    world = either
    job_id = world.job(SLOW)
    world.dispatcher()
    world.running(job_id)
    world.pause(job_id)

    job = world.wait(job_id, JobState.PAUSED)
    step = int(newest(world).name.rpartition("-")[2])
    assert (job.attempts, job.saved_step, world.checkpoints(job_id)[-1].step) == (0, step, step)
    assert (world.home / "checkpoints" / str(job_id) / world.checkpoints(job_id)[-1].name).is_dir()
    assert [attempt.outcome for attempt in world.attempts(job_id)] == [AttemptOutcome.PAUSED]

    world.hurry()
    world.resume(job_id)
    assert world.wait(job_id).state is JobState.SUCCEEDED, world.report()
    assert world.begins(job_id) == [step]
    assert len(world.metrics(job_id)) == 600


def test_a_job_whose_database_stays_away_saves_and_goes_on_when_it_is_back(world: World) -> None:
    job_id = world.job({"steps": 600, "seconds": 0.1, "save_every": 1000})
    world.environment["RANKLOOP_DATABASE_GRACE_SECONDS"] = "2"
    world.dispatcher()
    world.running(job_id)
    with world.closed_database():
        poll(lambda: "The job is left to its dispatcher." in world.report(), "the launcher to give up", world.report)
        step = int(newest(world).name.rpartition("-")[2])
        world.hurry()

    job = world.wait(job_id)
    assert (job.state, job.epoch) == (JobState.SUCCEEDED, 2), world.report()
    assert world.begins(job_id) == [step]
    assert world.attempts(job_id)[0].error["kind"] == "database"


def test_a_dispatcher_says_that_it_is_there_and_when_it_leaves(world: World) -> None:
    job_id = world.job(SLOW)
    dispatcher = world.dispatcher(RANKLOOP_SLOTS="2")
    world.running(job_id)

    def seen() -> list[tuple[int, int, RayState]]:
        with Session(world.engine) as session:
            return [(row.slots, row.busy, row.ray) for row in dispatchers.alive(session)]

    poll(lambda: seen() == [(2, 1, RayState.UNUSED)], "the dispatcher to report its job")
    dispatcher.terminate()
    poll(lambda: not seen(), "the dispatcher to leave")


def test_a_fault_of_the_stage_ends_the_job_with_its_cause_and_log(world: World) -> None:
    job_id = world.job({"steps": 3, "fault": "bug"})
    world.dispatcher()
    job = world.wait(job_id, JobState.FAILED)

    assert (job.error["kind"], job.attempts) == ("internal", 1)
    assert job.error["cause"] == "An unexpected ZeroDivisionError: a fault of ours"
    assert "stub.py" in job.error["traceback"]
    assert "The inputs are there." in job.error["log"]
    assert world.versions(job_id) == []


def test_a_job_that_keeps_dying_is_quarantined_and_others_go_on(world: World) -> None:
    poison = world.job({"steps": 3, "fault": "killed"}, max_attempts=2)
    other = world.job({"steps": 3})
    world.dispatcher()
    assert world.wait(other).state is JobState.SUCCEEDED
    job = world.wait(poison, JobState.FAILED)
    assert (job.error["kind"], job.attempts, job.epoch) == ("quarantined", 2, 2)
    assert "died with signal 9. That was the last of 2 attempts in a row" in job.error["cause"]


def test_dispatchers_of_one_machine_leave_each_others_claims_alone(world: World) -> None:
    jobs = [world.job({"steps": 3}) for _ in range(5)]
    for _ in range(3):
        world.dispatcher(RANKLOOP_SLOTS="3")
    assert [world.wait(job_id).epoch for job_id in jobs] == [1] * 5, world.report()
