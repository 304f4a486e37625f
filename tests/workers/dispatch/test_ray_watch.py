"""Before a job is claimed: would its launcher get into the Ray cluster?"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from annotation_api.db.tables import RayState
from annotation_api.settings import SettingsError
from annotation_api.worker_settings import ExecutorKind, WorkerSettings
from tests.support.engine_room import poll
from tests.support.ray_head import Head
from workers.dispatch import ray_watch
from workers.dispatch.ray_watch import RayWatch
from workers.executors.placement import ANSWER_SECONDS


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[str | None], RayWatch]]:
    made = []

    def make(address: str | None, **settings: ExecutorKind) -> RayWatch:
        made.append(RayWatch(WorkerSettings(ray_address=address, home=tmp_path, **settings)))
        return made[-1]

    yield make
    for one in made:
        one.end()


def settled(watch: RayWatch) -> RayState:
    """What it says once it knows."""
    return poll(lambda: _known(watch), "the probe to come back")


def _known(watch: RayWatch) -> RayState | None:
    state = watch.look()
    return state if watch.why or state is not RayState.DOWN else None


def test_without_a_cluster_there_is_nothing_to_look_for(watch: Callable[..., RayWatch]) -> None:
    assert watch(None).look() is RayState.LOCAL
    assert watch(None, executor=ExecutorKind.PROCESS).look() is RayState.UNUSED
    assert watch("h:1", executor=ExecutorKind.PROCESS).look() is RayState.UNUSED


def test_a_head_that_nobody_reaches_is_down(watch: Callable[..., RayWatch]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        nobody = watch(address)
        assert nobody.look() is RayState.DOWN
        assert nobody.why == f"no Ray head answers at {address}"


@pytest.mark.ray
def test_a_port_that_answers_is_not_enough(watch: Callable[..., RayWatch], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_gcs_server_request_timeout_seconds", "3")
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listening:
        deaf = watch(f"127.0.0.1:{listening.getsockname()[1]}")
        assert settled(deaf) is RayState.DOWN
        assert not deaf.head_lost
        assert deaf.why


@pytest.mark.ray
def test_a_head_is_up_once_a_launcher_would_get_in_and_down_when_it_is_killed(
    watch: Callable[..., RayWatch], one_gpu: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in one_gpu.token.items():
        monkeypatch.setenv(name, value)
    head = watch(one_gpu.address)
    assert head.look() is RayState.DOWN  # not known yet
    assert settled(head) is RayState.UP
    one_gpu.kill()
    assert head.look() is RayState.DOWN
    assert head.head_lost
    one_gpu.start()
    poll(lambda: head.look() is RayState.UP, "the new head to be proven")


@pytest.mark.ray
def test_a_wrong_token_keeps_launchers_out(
    watch: Callable[..., RayWatch], one_gpu: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "5b" * 32)
    stranger = watch(one_gpu.address)
    assert settled(stranger) is RayState.DOWN
    assert "Ray" in stranger.why


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "local", "head:port", "http://head:6379", "::1:6379"])
def test_an_address_that_no_launcher_can_use_is_refused_at_the_door(address: str) -> None:
    with pytest.raises(SettingsError, match=r"RANKLOOP_RAY_ADDRESS cannot be used: .*host:port"):
        WorkerSettings.from_environment({"RANKLOOP_RAY_ADDRESS": address})


@pytest.mark.parametrize("address", ["head.example.org:6379", "10.0.0.1:6379", "[::1]:6379", "auto"])
def test_addresses_of_heads(address: str) -> None:
    assert WorkerSettings.from_environment({"RANKLOOP_RAY_ADDRESS": address}).ray_address == address


def test_a_silent_machine_does_not_hide_the_others(
    watch: Callable[[str | None], RayWatch], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The probe waits for it as long as placement does, and then tells of it."""
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)"
    monkeypatch.setattr(ray_watch, "PROBE", (sys.executable, "-c", f"{waits}\nprint('b is silent')"))
    later = 0.0
    monkeypatch.setattr(ray_watch, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + later))
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listening:
        one = watch(f"127.0.0.1:{listening.getsockname()[1]}")
        one.look()
        later = ANSWER_SECONDS + 60
        one.look()
        (tmp_path / "go").touch()
        assert settled(one) is RayState.UP
        assert one.left_out == ("b is silent",)
