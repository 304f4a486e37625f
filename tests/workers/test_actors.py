"""The actor and the placement on one real Ray with two GPUs that do not exist."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from alignment.config import Stage
from alignment.events import ErrorKind, StageError
from tests.workers import stub
from tests.workers.world import poll
from workers import cluster
from workers.actors import StageActor, Work
from workers.environment import forget_secrets, is_secret
from workers.faults import fault_of

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def two_gpus() -> Iterator[None]:
    ray.cloudpickle.register_pickle_by_value(sys.modules[stub.__name__])
    ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def start(tmp_path: Path, script: dict[str, Any], gpus: float = 0.0) -> Any:
    (tmp_path / "script.json").write_text(json.dumps(script))
    work = Work(Stage.SFT, {}, {"model": tmp_path}, tmp_path, stub.run, threads=3)
    return StageActor.options(num_cpus=0, num_gpus=gpus).remote(work)


@pytest.mark.parametrize(
    ("fault", "kind", "cause"),
    [
        ("diverged", ErrorKind.DIVERGED, "The loss is not a number."),
        ("memory", ErrorKind.OUT_OF_MEMORY, "The stage ran out of memory: the host has none left."),
        ("setting", ErrorKind.BAD_INPUT, "Setting /batchsize: Unknown key 'batchsize'. Did you mean 'batch_size'?"),
        ("disk", ErrorKind.DISK_FULL, "The disk is full: model.safetensors."),
        ("bug", ErrorKind.INTERNAL, "An unexpected ZeroDivisionError: a fault of ours"),
    ],
)
def test_a_fault_keeps_its_kind_on_the_way_to_the_launcher(
    two_gpus: None, tmp_path: Path, fault: str, kind: ErrorKind, cause: str
) -> None:
    actor = start(tmp_path, {"steps": 3, "fault": fault})
    with pytest.raises(ray.exceptions.RayTaskError) as caught:
        ray.get(actor.run.remote())
    found = fault_of(caught.value)
    assert (found.kind, found.cause, found.again) == (kind, cause, False)


def test_a_dead_actor_is_a_crash_that_may_be_tried_again(two_gpus: None, tmp_path: Path) -> None:
    actor = start(tmp_path, {"steps": 100, "seconds": 0.1})
    running = actor.run.remote()
    ray.get(actor.where.remote())
    ray.kill(actor)
    with pytest.raises(ray.exceptions.RayActorError) as caught:
        ray.get(running)
    assert (fault_of(caught.value).kind, fault_of(caught.value).again) == (ErrorKind.CRASH, True)


def test_events_come_in_order_while_the_stage_runs_and_a_cancel_ends_it(two_gpus: None, tmp_path: Path) -> None:
    actor = start(tmp_path, {"steps": 1000, "seconds": 0.05})
    running = actor.run.remote()
    seen: list[int] = []

    def three_steps() -> bool:
        batch = ray.get(actor.drain.remote())
        seen.extend(progress.step for progress in batch.progress)
        return len(seen) >= 3

    poll(three_steps, "three steps")
    assert seen == list(range(1, len(seen) + 1))
    ray.get(actor.cancel.remote())
    with pytest.raises(ray.exceptions.RayTaskError) as caught:
        ray.get(running, timeout=10)
    assert fault_of(caught.value).kind is ErrorKind.CANCELLED


def test_a_job_waits_for_gpus_that_are_busy_and_not_for_gpus_that_do_not_exist(two_gpus: None, tmp_path: Path) -> None:
    assert cluster.place(0.0) == cluster.Placement(gpus=0.0)
    assert cluster.place(2.0) == cluster.Placement(gpus=2.0, waits=False)
    holder = start(tmp_path, {"steps": 1}, gpus=2.0)
    ray.get(holder.where.remote())
    poll(lambda: cluster.place(1.0).waits, "both GPUs to be taken")
    with pytest.raises(cluster.NeverFits, match="asks for 3 GPUs on one machine, and the largest here has 2") as caught:
        cluster.place(3.0)
    assert not fault_of(caught.value).again
    ray.kill(holder)
    poll(lambda: not cluster.place(1.0).waits, "the GPUs to be free again")


def test_a_stage_without_gpus_sees_none(two_gpus: None, tmp_path: Path) -> None:
    for gpus, seen in ((0.0, "''"), (1.0, "'[01]'")):
        actor = start(tmp_path, {"steps": 1}, gpus)
        ray.get(actor.run.remote())
        ((_, message),) = ray.get(actor.drain.remote()).notes
        assert re.search(f"3 threads, GPUs {seen}$", message), message
        ray.kill(actor)


def test_a_lost_cluster_is_tried_again() -> None:
    assert fault_of(StageError(ErrorKind.CLUSTER, "gone")).again


SECRETS = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "WANDB_API_KEY", "OTHER_DATABASE_URL")


def test_the_stage_sees_no_secrets(two_gpus: None, tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text(json.dumps({"steps": 1}))
    work = Work(Stage.SFT, {}, {"model": tmp_path}, tmp_path, stub.run, threads=3)
    known = {"env_vars": {"OTHER_DATABASE_URL": "postgresql://user:password@host/name"}}
    actor = StageActor.options(num_cpus=0, runtime_env=known).remote(work)
    ray.get(actor.run.remote())
    told = [message for _, message in ray.get(actor.drain.remote()).notes]
    assert any("sees ['HF_HUB_OFFLINE']," in message for message in told), told


def test_secrets_are_known_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ("PATH", "TOKENIZERS_PARALLELISM", "RAY_AUTH_TOKEN", "HF_HOME", "CUDA_VISIBLE_DEVICES", "KEYBOARD")
    for name in (*SECRETS, "PGPASSWORD", "RANKLOOP_API_KEY", "RANKLOOP_DATABASE_URL_FILE", *kept):
        monkeypatch.setenv(name, "x")
    forget_secrets()
    assert not [name for name in os.environ if is_secret(name)]
    assert set(kept) <= set(os.environ)
    assert not set(SECRETS) & set(os.environ)
