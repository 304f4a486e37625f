"""Jobs on a Ray cluster that runs beside them, with one GPU that does not exist."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from alignment.shared.sentence import unpacked
from annotation_api.db import dispatchers
from annotation_api.db.tables import Job, JobState, RayState
from tests.support.engine_room import World, poll
from tests.support.ray_head import Head

pytestmark = [pytest.mark.ray, pytest.mark.postgres]


def test_halves_share_a_gpu_a_whole_one_waits_and_two_are_never_had(world: World, one_gpu: Head) -> None:
    halves = [world.job({"steps": 900, "seconds": 0.1}, gpus=0.5) for _ in range(2)]
    world.environment |= one_gpu.environment | {"RANKLOOP_SLOTS": "4", "RANKLOOP_INFEASIBLE_SECONDS": "1"}
    world.dispatcher()
    assert [world.running(job_id).progress["device"] for job_id in halves] == ["gpu", "gpu"]

    whole = world.job({"steps": 2}, gpus=1.0)
    two = world.job({"steps": 2}, gpus=2.0, config=BATCHES)

    def waits(job: Job) -> bool:
        said = unpacked(job.reason_detail or "")
        return (job.reason, said) == ("waiting_gpu", "1 GPU on machines with 0 free of 1")

    world.wait(whole, JobState.STARTING, until=waits)
    failed = world.wait(two, JobState.FAILED)
    assert (failed.error["kind"], failed.attempts) == ("infeasible", 1)
    cause = "The job asks for 2 GPUs, and the cluster's machines have 1, the largest of which has 1."
    assert failed.error["cause"] == cause

    for job_id in halves:
        world.cancel(job_id)
        assert world.wait(job_id).state is JobState.CANCELLED
    assert world.wait(whole).state is JobState.SUCCEEDED
    assert world.attempts(whole)[0].waited_seconds > 0


BATCHES = {"batch_size": 8, "micro_batch_size": 4}


def test_a_job_whose_head_is_killed_goes_on_by_itself_when_there_is_one_again(world: World, one_gpu: Head) -> None:
    job_id = world.job({"steps": 600, "seconds": 0.1, "save_every": 5}, max_attempts=1, gpus=1.0)
    world.environment |= one_gpu.environment
    world.dispatcher()
    world.running(job_id)
    poll(lambda: world.checkpoints(job_id), "a checkpoint", world.report)
    one_gpu.kill()

    job = world.wait(job_id, JobState.QUEUED)
    assert (job.error["kind"], job.interruptions) == ("cluster", 1)
    later = world.job({"steps": 2})  # somebody asks for one more meanwhile
    poll(lambda: said(world) == [RayState.DOWN], "the dispatcher to say that the head is down")
    world.hurry()
    one_gpu.start()

    job = world.wait(job_id)
    assert (job.state, job.epoch) == (JobState.SUCCEEDED, 2), world.report()
    (begin,) = world.begins(job_id)
    assert begin >= 5
    assert (world.wait(later).state, world.read(later).epoch) == (JobState.SUCCEEDED, 1)
    poll(lambda: said(world) == [RayState.UP], "the dispatcher to say that the head is up")


def said(world: World) -> list[RayState]:
    """What the dispatchers that are there say of Ray."""
    with Session(world.engine) as session:
        return [row.ray for row in dispatchers.alive(session)]
