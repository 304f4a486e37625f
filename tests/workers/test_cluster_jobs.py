"""Jobs on a Ray cluster that runs beside them, with one GPU that does not exist."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from annotation_api.db.tables import JobState
from tests.workers.world import World

pytestmark = [pytest.mark.ray, pytest.mark.postgres]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "4a" * 32}


@pytest.fixture
def head(tmp_path: Path) -> Iterator[str]:
    """The address of a head with one GPU."""
    ray = Path(sys.executable).with_name("ray")
    options = ["--head", "--port=26379", "--num-cpus=4", "--num-gpus=1", "--include-dashboard=false"]
    command = [str(ray), "start", *options, "--node-ip-address=127.0.0.1", "--block"]
    process = subprocess.Popen(command, env=os.environ | TOKEN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield "127.0.0.1:26379"
    process.terminate()
    process.wait(30)


def test_one_gpu_serves_one_job_while_the_next_waits_and_a_third_is_told_that_it_never_fits(
    world: World, head: str
) -> None:
    first = world.job({"steps": 600, "seconds": 0.1}, gpus=1.0)
    world.environment |= TOKEN | {"RANKLOOP_RAY_ADDRESS": head, "RANKLOOP_SLOTS": "2"}
    world.dispatcher()
    assert world.running(first).progress["device"] == "gpu"

    second = world.job({"steps": 2}, gpus=1.0)
    world.wait(second, JobState.STARTING, until=lambda job: job.reason == "waiting_gpu")
    world.cancel(first)
    assert world.wait(first).state is JobState.CANCELLED
    assert world.wait(second).state is JobState.SUCCEEDED

    third = world.wait(world.job({"steps": 2}, gpus=2.0), JobState.FAILED)
    assert third.error["kind"] == "cluster"
    assert third.error["cause"] == "The job asks for 2 GPUs on one machine, and the largest here has 1."
