"""A cluster of two nodes that share a folder: GPUs that are not there yet, that go away, or that see other files.

    pytest -m deep -s tests/compose/test_two_nodes.py

The nodes are the services `dispatcher` and `ray-worker-gpu` of docker-compose.yml, each in namespaces of its own.
"""

from __future__ import annotations

import threading
import time

import pytest

from tests.compose.people import CONFIG, Running
from tests.support.engine_room import poll

WHY = "A node stays away for 90 s; the parts of it are tested in every run, on one machine."
pytestmark = [pytest.mark.postgres, pytest.mark.ray, pytest.mark.deep(reason=WHY), pytest.mark.timeout(1800)]
AWAY_SECONDS = 90.0
NODE = "ray-worker-gpu"
GPU = "docker compose --profile gpu up -d"
STRANGER = """
  ray-worker-stranger:
    <<: *service
    profiles: [stranger]
    command: [rankloop, serve, ray-node]
    volumes: ["other:/var/lib/rankloop"]
    secrets: [ray_token]
    environment:
      <<: [*environment, *ray]
      RANKLOOP_DATABASE_URL_FILE: ""
      RANKLOOP_RAY_ADDRESS: dispatcher:6379
    deploy: {resources: {reservations: {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}}

  prometheus:"""


def waits(running: Running, job: str, words: str) -> str:
    def detail() -> str | None:
        row = running.admin.get(job)
        told = f"{row['state']} {row['reason']}: {row['reason_detail']}"
        return told if words in told else None

    found: str = poll(detail, words, lambda: str(running.admin.get(job)), 400)
    return found


def test_a_pipeline_outlives_that_its_node_is_not_there_and_goes_away(running: Running) -> None:
    admin, stack = running.admin, running.stack
    long = CONFIG | {"ppo": CONFIG["ppo"] | {"updates": 60, "evaluate_every": 30}}
    body = {
        "model": running.base(),
        "demonstrations": admin.upload("demonstrations"),
        "preferences": admin.upload("rankings"),
        "gpus": 1,
        "config": long,
    }
    pipeline = admin.post("/v1/pipelines", body)
    sft, _, ppo = (f"/v1/jobs/{job['id']}" for job in pipeline["jobs"])
    print("scaled to zero:", waits(running, sft, "starting waiting_gpu: 1 GPU, and the cluster has none now"))
    running.docker.shell(GPU)
    row = admin.wait(ppo, "running", until=lambda row: (row["saved_step"] or 0) >= 4, limit=900)
    assert row["progress"]["device"] == "gpu"
    began = time.monotonic()
    stack.containers[NODE].cut()
    print(f"cut off at update {row['progress']['step']}")
    print(f"after {time.monotonic() - began:.0f} s:", waits(running, ppo, "left it"))
    (lost,) = (one for one in admin.get(f"{ppo}/attempts") if one["outcome"])
    assert (lost["outcome"], lost["error"]["kind"]) == ("queued", "cluster"), lost
    assert NODE in lost["error"]["cause"]
    threading.Event().wait(AWAY_SECONDS - (time.monotonic() - began))
    stack.containers[NODE].start()
    done = admin.wait(ppo, "succeeded", limit=900)
    print(f"it came back after {AWAY_SECONDS:.0f} s, and PPO was done after {time.monotonic() - began:.0f} s")
    told = [(one["epoch"], one["outcome"], (one["error"] or {}).get("kind")) for one in admin.get(f"{ppo}/attempts")]
    print(f"attempts of PPO: {told}")
    assert done["attempts"] == 1, "none was spent"
    assert admin.get(f"/v1/pipelines/{pipeline['id']}")["state"] == "succeeded"


def test_a_node_with_another_home_is_named_and_gets_nothing(running: Running) -> None:
    admin, stack = running.admin, running.stack
    file = stack.project / "docker-compose.yml"
    text = file.read_text().replace("\n  prometheus:", STRANGER, 1).replace("\nvolumes:\n", "\nvolumes:\n  other:\n", 1)
    file.write_text(text)
    if NODE in stack.containers:
        stack.stop(NODE)
    running.docker.shell("docker compose --profile stranger up -d")
    inputs = {"model": running.base(), "demonstrations": admin.upload("demonstrations")}
    made = admin.post("/v1/jobs", {"stage": "sft", "inputs": inputs, "config": CONFIG["sft"], "gpus": 1})
    words = "has another folder at /var/lib/rankloop, not the shared one"
    print("another home:", waits(running, f"/v1/jobs/{made['id']}", words))
    named = "A machine gets no jobs: ray-worker-stranger"
    poll(lambda: named in stack.said("dispatcher", 400), "it to be named", lambda: stack.said("dispatcher"), 120)
    running.docker.shell(GPU)
    done = admin.wait(f"/v1/jobs/{made['id']}", "succeeded")
    assert (done["epoch"], done["attempts"]) == (1, 1)
