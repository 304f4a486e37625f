"""The harness tells a deployment that fails from one that works: fed the file of before, it fails by its three faults.

pytest -m deep -s tests/compose/test_old_file.py
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.compose.conftest import project
from tests.compose.docker import Docker, blocks
from tests.compose.people import Admin
from tests.compose.stack import Stack
from tests.compose.test_upgrade import replace_code
from tests.support.alignment import tiny
from tests.support.engine_room import poll

WHY = (
    "It shows that the harness would have found the faults of a file that is no longer ours, one of them after minutes."
)
pytestmark = [pytest.mark.postgres, pytest.mark.ray, pytest.mark.deep(reason=WHY), pytest.mark.timeout(1500)]
OLD = "74f25fb96bf7bcf6b6978474abce8fb6f10af34c"  # the last one that nobody had run
MODEL = "/var/lib/rankloop/models/my-model"
FOR_EVER = {"batch_size": 8, "micro_batch_size": 4, "max_length": 48, "epochs": 500.0}


@pytest.fixture(scope="module")
def old(namespaces: None) -> Iterator[tuple[Stack, Admin]]:
    with project() as folder:
        lines = blocks(folder / "docs" / "deploy.md")
        replace_code(folder, OLD)
        with Stack(folder) as stack, Docker(stack) as docker:
            docker.shell(lines["secrets"])
            stack.up()
            yield stack, Admin(stack, stack.said("migrate"))


@pytest.fixture(scope="module")
def job(old: tuple[Stack, Admin]) -> str:
    """The path of a job that asks for no more than a core."""
    stack, admin = old
    folder = stack.volume("home") / "models" / "my-model"
    tiny.save(tiny.causal(), folder)
    subprocess.run(["chown", "-R", "10001:10001", str(folder.parent)], check=True)
    base = admin.post("/v1/models", {"name": "tiny", "path": MODEL})["id"]
    inputs = {"model": {"model": base}, "demonstrations": admin.upload("demonstrations")}
    made = admin.post("/v1/jobs", {"stage": "sft", "inputs": inputs, "config": FOR_EVER, "gpus": 0})
    return f"/v1/jobs/{made['id']}"


def test_no_job_runs_and_the_service_says_that_it_is_well(old: tuple[Stack, Admin], job: str) -> None:
    """Fault 1: Ray's driver looks for its node among the processes of a container in which there is none."""
    admin = old[1]
    began = time.monotonic()

    def failed() -> Any:
        return [one for one in admin.get(f"{job}/attempts") if one["outcome"]]

    (attempt, *_) = poll(failed, "the first attempt to end", lambda: str(admin.get(job)), 300)
    print(f"fault 1: {attempt['outcome']} as {attempt['error']['kind']} after {time.monotonic() - began:.0f} s")
    assert (attempt["outcome"], attempt["error"]["kind"]) == ("queued", "cluster")
    assert admin.ready()[0] == "ok"


def test_the_api_does_not_end_while_somebody_watches(old: tuple[Stack, Admin], job: str) -> None:
    """Fault 3: it waits for the event stream, until it is killed."""
    stack, admin = old
    with admin.http as http, http.stream("GET", f"{job}/events") as stream:
        assert stream.is_success, stream.read()
        next(stream.iter_lines())
        took = stack.containers["api"].stop()
    print(f"fault 3: the API was killed after {took:.1f} s")
    print(stack.said("api", 12), stack.containers["api"].code)
    assert took >= stack.compose.services["api"].stop_grace_period
    stack.up("api")


def test_a_restart_of_the_head_strands_the_dispatcher(old: tuple[Stack, Admin]) -> None:
    """Fault 2: its network was the head's; nothing restarts it, and no health check tells."""
    stack, admin = old
    assert stack.compose.services["dispatcher"].healthcheck is None
    stack.restart("ray-head")
    poll(lambda: admin.ready()[1] == "missing", "the dispatcher to be missed", lambda: str(admin.ready()), 120)
    with pytest.raises(AssertionError, match="waited 60 s"):
        poll(lambda: admin.ready()[1] == "ok", "it to come back", lambda: stack.said("dispatcher"), 60)
    assert stack.containers["dispatcher"].running
    print(f"fault 2: {stack.said('dispatcher', 1)}")
