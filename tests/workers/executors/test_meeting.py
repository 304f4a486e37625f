"""Before processes on several machines train together: do they reach one another, and by which interface?"""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from ray.exceptions import ActorDiedError

from annotation_api.db.kinds import ErrorKind
from workers.executors import head, meeting
from workers.executors.actors import ActorPlace
from workers.executors.ray import RayExecutor, ray
from workers.stage.faults import Faulted


def test_a_port_that_is_held_is_reached_until_the_stage_begins() -> None:
    with meeting.held_port() as held:
        port = held.getsockname()[1]
        assert meeting.obstacle("127.0.0.1", port) == ""
    assert meeting.obstacle("127.0.0.1", port) == "Connection refused"
    with socket.create_server(("", port)):
        assert meeting.obstacle("127.0.0.1", port) == "", "torch can listen there at once"


def test_torch_speaks_through_the_interface_of_rays_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in meeting.INTERFACES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "mine")
    assert meeting.interface_of("127.0.0.1") == "lo"
    assert meeting.interface_of("203.0.113.9") == ""
    meeting.speak_through("")
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    meeting.speak_through("eth7")
    assert (os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"]) == ("eth7", "mine")


def test_a_wall_between_two_machines_is_named_with_both_and_their_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ActorPlace("a", 1, "10.0.0.1", 5000, "n1", "eth0")
    places = [first, replace(first, pid=2), ActorPlace("b", 3, "10.0.0.2", 5001, "n2", "eth7")]
    asked: list[ActorPlace] = []
    actor = SimpleNamespace(obstacle=SimpleNamespace(remote=lambda place: asked.append(place) or "timed out"))
    executor = RayExecutor(None, Path("unused"), 1.0)
    monkeypatch.setattr(executor, "_actors", [actor] * 3)
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    with pytest.raises(Faulted) as caught:
        executor._refuse_walls(places)
    assert asked == [first], "the one on the first one's own machine is not asked"
    fault = caught.value.fault
    assert fault.kind is ErrorKind.CLUSTER
    assert fault.cause == "b (10.0.0.2 on eth7) does not reach a (10.0.0.1 on eth0) at port 5000: timed out."
    assert "tried again by itself" in fault.next_step


@pytest.mark.parametrize(
    ("left", "kind", "cause"),
    [
        ([], ErrorKind.CRASH, "The process that ran the stage died."),
        (["b"], ErrorKind.CLUSTER, "The machine that ran the stage left the cluster: b."),
    ],
)
def test_a_process_that_dies_while_it_is_asked_is_named(
    monkeypatch: pytest.MonkeyPatch, left: list[str], kind: ErrorKind, cause: str
) -> None:
    places = [ActorPlace("a", 1, "10.0.0.1", 5000, "n1"), ActorPlace("b", 2, "10.0.0.2", 5001, "n2")]

    def get(asked: Any) -> Any:
        if asked == "places":
            return places
        raise ActorDiedError

    executor = RayExecutor(None, Path("unused"), 1.0)
    actor = SimpleNamespace(obstacle=SimpleNamespace(remote=lambda place: "obstacle"))
    monkeypatch.setattr(executor, "_actors", [actor] * 2)
    monkeypatch.setattr(executor, "_places", "places")
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(executor, "_head_stays", lambda: True)
    monkeypatch.setattr("workers.executors.ray.gone", lambda nodes: left)
    with pytest.raises(Faulted) as caught:
        executor._run_actors()
    assert (caught.value.fault.kind, caught.value.fault.cause) == (kind, cause)


def test_auto_finds_a_head_whose_folder_is_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`ray start --temp-dir=/data/ray` notes its address there, and not where `auto` looks."""
    monkeypatch.setattr(head, "OF_THIS_MACHINE", tmp_path / "none")
    running: list[Any] = [SimpleNamespace(info={"name": "python", "cmdline": ["--gcs-address=no:1"]})]
    monkeypatch.setattr(psutil, "process_iter", lambda _: iter(running))
    assert not head.answers("auto")
    running.append(SimpleNamespace(info={"name": "raylet", "cmdline": ["raylet", "--gcs-address=10.0.0.9:6379", "-x"]}))
    assert head.host_and_port("auto") == ("10.0.0.9", 6379)
    (tmp_path / "none").write_text("10.0.0.1:6380\n")
    assert head.resolved("auto") == "10.0.0.1:6380"
    assert head.resolved("10.0.0.7:1") == "10.0.0.7:1"
