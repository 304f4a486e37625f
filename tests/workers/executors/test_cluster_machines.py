"""Machines of a Ray cluster that come, go, and are not what they should be; their GPUs do not exist."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from alignment.shared.config import Stage
from alignment.shared.sentence import unpacked
from annotation_api.db.tables import Job, JobState
from tests.support import stub
from tests.support.engine_room import ROOT, World, poll
from tests.support.ray_head import Head
from workers.executors.base import Executor
from workers.stage.work import StageWork

pytestmark = [pytest.mark.ray, pytest.mark.postgres]


@pytest.fixture
def no_gpu() -> Iterator[Head]:
    """A cluster that was scaled to zero, or whose head has been started anew."""
    with Head(gpus=0) as head:
        yield head


def reason(world: World, job_id: uuid.UUID, detail: str) -> Job:
    """The job once it waits for GPUs with these words."""
    return world.wait(
        job_id,
        JobState.STARTING,
        until=lambda job: job.reason == "waiting_gpu" and detail in unpacked(job.reason_detail or ""),
    )


def test_a_job_waits_for_a_gpu_that_comes(world: World, no_gpu: Head) -> None:
    """It never takes the CPU unasked."""
    job_id = world.job({"steps": 2}, gpus=1.0)
    anywhere = world.job({"steps": 2}, gpus=1.0, allow_cpu=True)
    world.environment |= no_gpu.environment | {"RANKLOOP_INFEASIBLE_SECONDS": "1", "RANKLOOP_SLOTS": "2"}
    world.dispatcher()
    assert world.wait(anywhere).state is JobState.SUCCEEDED
    said = [note["message"] for note in world.events(anywhere, "note")]
    assert said.count("The job asks for 1 GPU and there is none here: it runs on the CPU.") == 1
    reason(world, job_id, "1 GPU, and the cluster has none now")
    with no_gpu.machine("127.0.0.2", gpus=1):
        job = world.wait(job_id)
    assert (job.state, job.epoch, job.progress["device"]) == (JobState.SUCCEEDED, 1, "gpu"), world.report()


@pytest.mark.deep(
    reason="a minute; its words have a test of their own, and a job that lost its head goes on in every run"
)
def test_a_job_that_lost_its_machine_waits_for_it_and_goes_on(world: World, no_gpu: Head) -> None:
    """The loss is no fault of the job's own."""
    job_id = world.job({"steps": 600, "seconds": 0.1, "save_every": 5}, max_attempts=1, gpus=1.0)
    world.environment |= no_gpu.environment | {"RANKLOOP_INFEASIBLE_SECONDS": "1"}
    world.dispatcher()
    with no_gpu.machine("127.0.0.2", gpus=1) as machine:
        assert world.running(job_id).progress["device"] == "gpu"
        poll(lambda: world.checkpoints(job_id), "a checkpoint", world.report)
        machine.kill()
        poll(lambda: (world.read(job_id).error or {}).get("kind") == "cluster", "the loss to be told", world.report)
        (lost, *_) = world.attempts(job_id)
        assert "left the cluster" in lost.error["cause"]
        reason(world, job_id, "1 GPU, and the cluster has none now; 127.0.0.2 left it")
        world.hurry()
        machine.start()
        job = world.wait(job_id)
    assert (job.state, job.attempts, len(world.begins(job_id))) == (JobState.SUCCEEDED, 1, 1), world.report()


@pytest.mark.deep(
    reason="minutes; test_inspection.py asks each question, a machine that is mended is left out and back"
)
def test_machines_that_are_not_fit_are_left_out_by_name(
    world: World, no_gpu: Head, namespaces: None, tmp_path: Path
) -> None:
    """One with another folder in the place of the home, one with other code; the third one gets the job."""
    other = tmp_path / "other"
    (other / "home").mkdir(parents=True)
    shutil.copytree(ROOT / "workers", other / "workers")
    (other / "workers" / "settings.py").write_text("x = 1\n")
    files = no_gpu.machine("127.0.0.2", 1, f"mount --bind {other / 'home'} {world.home}")
    code = no_gpu.machine("127.0.0.3", 1, f"mount --bind {other / 'workers'} {ROOT / 'workers'}")
    job_id = world.job({"steps": 2}, gpus=1.0)
    world.environment |= no_gpu.environment | {"RANKLOOP_INFEASIBLE_SECONDS": "1"}
    with files, code:
        world.dispatcher()
        files_differ = f"(127.0.0.2) has another folder at {world.home}, not the shared one"
        told = unpacked(reason(world, job_id, f"{files_differ}; ").reason_detail or "")
        assert "(127.0.0.3) has Rankloop's code" in told
        poll(lambda: files_differ in (world.home / "test.log").read_text(), "the dispatcher to name it", world.report)
        with no_gpu.machine("127.0.0.4", gpus=1):
            job = world.wait(job_id)
    assert (job.state, job.epoch) == (JobState.SUCCEEDED, 1), world.report()


def test_a_machine_that_was_mended_gets_the_job(
    two_gpus: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again now and then; here the folder of the model is not mounted at first."""
    import ray

    from workers.executors import placement
    from workers.executors.ray import RayExecutor

    ray.cloudpickle.register_pickle_by_value(stub)
    monkeypatch.setattr(placement, "LEFT_OUT_SECONDS", 0.5)
    model = tmp_path / "model"
    (tmp_path / "out").mkdir()
    executor = RayExecutor(two_gpus.address, Path("unused"), 1.0, home=tmp_path)
    try:
        executor.start(StageWork(Stage.SFT, {}, {"model": model}, tmp_path / "out", stub.run, threads=1), 1.0)
        said: list[str] = []
        poll(lambda: placed(executor, said) or f"does not see {model}" in said[-1], "the machine to be left out")
        assert said[-1].startswith("1 GPU, and the cluster has none now; ")
        model.mkdir()
        (model / "script.json").write_text(json.dumps({"steps": 1}))
        poll(lambda: placed(executor, said), "the machine to be asked again")
        poll(lambda: executor.over(0.2), "the stage to end")
        assert executor.result().metrics == {"loss": 0.25}
    finally:
        executor.end()


def placed(executor: Executor, said: list[str]) -> bool:
    waiting = executor.placed(0.2)
    said.append((waiting and waiting.detail) or "")
    return waiting is None


def test_a_dispatcher_with_another_home_is_refused_before_it_takes_a_job(world: World, tmp_path: Path) -> None:
    first = world.dispatcher()
    done = world.job({"steps": 1})
    assert world.wait(done).state is JobState.SUCCEEDED
    first.terminate()
    first.wait(60)
    waits = world.job({"steps": 1})
    second = world.dispatcher(RANKLOOP_HOME=str(tmp_path / "elsewhere"))
    assert second.wait(60) == 1
    said = (world.home / "test.log").read_text()
    assert f"RANKLOOP_HOME {tmp_path / 'elsewhere'} is not the folder in which the files of this database lie" in said
    assert (world.read(waits).state, world.read(waits).epoch) == (JobState.QUEUED, 0)
    world.dispatcher()
    assert world.wait(waits).state is JobState.SUCCEEDED
