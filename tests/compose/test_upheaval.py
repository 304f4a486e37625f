"""Every service restarted, killed and taken away while a job trains; all of it stopped and started; more profiles."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable

import httpx
import psutil
import pytest

from tests.compose.people import Running

WHY = "Eight disasters of a minute each; the journey restarts and stops everything once in every run."
pytestmark = [pytest.mark.postgres, pytest.mark.ray, pytest.mark.deep(reason=WHY), pytest.mark.timeout(1500)]
LONG = {"batch_size": 8, "micro_batch_size": 4, "max_length": 48, "save_every": 5, "epochs": 60.0}


@pytest.fixture
def job(running: Running) -> str:
    """The path of an SFT job that has saved a checkpoint and has some minutes to go."""
    admin = running.admin
    inputs = {"model": running.base(), "demonstrations": admin.upload("demonstrations")}
    made = admin.post("/v1/jobs", {"stage": "sft", "inputs": inputs, "config": LONG, "gpus": 0})
    path = f"/v1/jobs/{made['id']}"
    admin.wait(path, "running", until=lambda row: (row["progress"] or {}).get("step", 0) >= 6)
    return path


def restarted(name: str) -> Callable[[Running], object]:
    return lambda running: running.stack.restart(name)


def down_and_up(running: Running) -> None:
    running.docker.shell("docker compose down; docker compose up -d")


def killed(*words: str) -> Callable[[Running], object]:
    """SIGKILL for one process of the dispatcher's container."""

    def kill(running: Running) -> None:
        box = running.stack.containers["dispatcher"].box
        assert box
        found = [
            process
            for process in psutil.Process(box.pid).children(recursive=True)
            if all(any(word in argument for argument in process.cmdline()) for word in words)
        ]
        assert found, words
        found[0].send_signal(signal.SIGKILL)

    return kill


def container_killed(running: Running) -> None:
    """As by the kernel, out of memory; its restart policy brings it back."""
    box = running.stack.containers["dispatcher"].box
    assert box
    box.signal(signal.SIGKILL)


@pytest.mark.parametrize(
    "upheaval",
    [
        pytest.param(restarted("api"), id="api restarted"),
        pytest.param(restarted("db"), id="db restarted"),
        pytest.param(restarted("dispatcher"), id="dispatcher restarted"),
        pytest.param(down_and_up, id="down and up"),
        pytest.param(killed("gcs_server"), id="head killed"),
        pytest.param(killed("raylet/raylet"), id="raylet killed"),
        pytest.param(killed("-m", "workers"), id="dispatcher process killed"),
        pytest.param(container_killed, id="dispatcher container killed"),
    ],
)
def test_a_job_outlives(running: Running, job: str, upheaval: Callable[[Running], object]) -> None:
    """And Ray's losses are no fault of the job's: they are named, and spend none of its attempts."""
    began = time.monotonic()
    upheaval(running)
    took = running.admin.wait_ready(180)
    done = running.admin.wait(job, "succeeded")
    attempts = running.admin.get(f"{job}/attempts")
    told = [(one["outcome"], (one["error"] or {}).get("kind")) for one in attempts]
    print(f"ready after {took:.0f} s, the job done after {time.monotonic() - began:.0f} s: {told}")
    if upheaval is not container_killed:
        assert {kind for _, kind in told} <= {None, "cluster"}
    assert done["state"] == "succeeded"
    sessions = running.stack.containers["dispatcher"].box.execute(  # type: ignore[union-attr]
        ["sh", "-c", "ls -d /tmp/rankloop-10001/ray-6379/session_2*"], stdout=subprocess.PIPE
    )
    assert len(sessions.stdout.split()) == 1, "a Ray session of a head that is gone"


def test_the_other_profiles(running: Running) -> None:
    """Two GPUs that do not exist join the cluster, and what watches gets its figures."""
    running.docker.shell(running.lines["profiles"])
    running.stack.settle()
    admin = running.admin
    inputs = {"model": running.base(), "demonstrations": admin.upload("demonstrations")}
    made = admin.post("/v1/jobs", {"stage": "sft", "inputs": inputs, "config": LONG | {"epochs": 1.0}, "gpus": 1})
    assert admin.wait(f"/v1/jobs/{made['id']}", "succeeded")["progress"]["device"] == "gpu"
    told = json.loads(httpx.get(running.stack.url("prometheus", "9090"), timeout=30).text)
    assert "rankloop_dispatchers" in told["api:8000"], told
