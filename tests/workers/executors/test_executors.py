"""One stage in each executor: what it reports, what is asked of it, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from alignment.shared import stages
from alignment.shared.config import SFTConfig, Stage
from alignment.shared.events import Paused
from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.jobs.records import Wish
from annotation_api.db.kinds import ErrorKind
from annotation_api.settings import OPENS_THE_SERVICE
from tests.support import stub
from tests.support.alignment import tiny
from tests.support.engine_room import PATIENCE, poll
from tests.support.ray_head import Head
from workers.executors.base import Executor, Waiting
from workers.executors.memory import OutOfMemoryWatch
from workers.executors.process import ProcessExecutor
from workers.stage.environment import forget_secrets, is_secret
from workers.stage.faults import AttemptError, Faulted
from workers.stage.work import Batch, StageWork

Make = Callable[[], Executor]


@pytest.fixture
def process() -> Iterator[Make]:
    with several(ProcessExecutor) as make:
        yield make


@pytest.fixture
def on_ray(two_gpus: Head) -> Iterator[Make]:
    import ray

    from workers.executors.ray import RayExecutor

    ray.cloudpickle.register_pickle_by_value(stub)
    with several(lambda: RayExecutor(two_gpus.address, Path("unused"), infeasible_seconds=0.5)) as make:
        yield make


@pytest.fixture(params=["process", pytest.param("on_ray", marks=pytest.mark.ray)])
def make(request: pytest.FixtureRequest) -> Make:
    found: Make = request.getfixturevalue(request.param)
    return found


@contextmanager
def several(new: Make) -> Iterator[Make]:
    """Executors, all of which are ended at last."""
    made: list[Executor] = []

    def make() -> Executor:
        made.append(new())
        return made[-1]

    yield make
    for executor in made:
        executor.end()


def start(executor: Executor, folder: Path, script: dict[str, Any], gpus: float = 0.0, **inputs: Any) -> None:
    """Have the stub run; returns once it does."""
    (folder / "out").mkdir(exist_ok=True)
    (folder / "script.json").write_text(json.dumps(script))
    work = StageWork(Stage.SFT, {}, {"model": folder} | inputs, folder / "out", stub.run, threads=3)
    executor.start(work, gpus)
    poll(lambda: executor.placed(1.0) is None, "the stage to be placed")


def follow(executor: Executor, patience: float = PATIENCE) -> Batch:
    """All that is reported until the end."""
    batch, deadline = Batch(), time.monotonic() + patience
    while not executor.over(0.2):
        assert time.monotonic() < deadline, "the stage did not end"
        batch += executor.take(0.2)
    return batch + executor.take(1.0)


def test_events_come_in_order_and_the_result_at_the_end(make: Make, tmp_path: Path) -> None:
    executor = make()
    start(executor, tmp_path, {"steps": 20, "seconds": 0.05, "save_every": 8}, checkpoints=tmp_path / "saved")
    batch = follow(executor)
    assert [progress.step for progress in batch.progress] == list(range(1, 21))
    assert [saved.step for saved in batch.checkpoints] == [8, 16]
    assert batch.samples == [(20, [{"prompt": "hello", "response": "world"}])]
    ((_, message),) = batch.notes
    assert re.search(r"sees \['HF_HUB_OFFLINE'\], 3 threads, GPUs ''$", message), message
    assert executor.result().metrics == {"loss": 0.25}
    assert executor.device == "cpu"
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == b"weights"


SECRETS = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "WANDB_API_KEY", "OTHER_DATABASE_URL")


def test_the_stage_sees_no_secrets(process: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_DATABASE_URL", "postgresql://user:password@host/name")
    executor = process()
    start(executor, tmp_path, {"steps": 1})
    ((_, message),) = follow(executor).notes
    assert "sees ['HF_HUB_OFFLINE']," in message


def test_secrets_are_known_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ("PATH", "TOKENIZERS_PARALLELISM", "RAY_AUTH_TOKEN", "HF_HOME", "CUDA_VISIBLE_DEVICES", "KEYBOARD")
    for name in (*SECRETS, "PGPASSWORD", "RANKLOOP_API_KEY", "RANKLOOP_DATABASE_URL_FILE", *kept):
        monkeypatch.setenv(name, "x")
    forget_secrets()
    assert not [name for name in os.environ if is_secret(name)]
    assert set(kept) <= set(os.environ)


def test_the_launcher_forgets_what_opens_the_service_and_keeps_the_hubs_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the one rule of names: a setting that is added tomorrow needs no line in a second list."""
    for name in ("RANKLOOP_DATABASE_URL", "RANKLOOP_MAIL_PASSWORD_FILE", "PGPASSFILE", "HF_TOKEN"):
        monkeypatch.setenv(name, "x")
    forget_secrets(*OPENS_THE_SERVICE)
    assert [name for name in os.environ if is_secret(name) and name.startswith(("RANKLOOP_", "PG", "HF_"))] == [
        "HF_TOKEN"
    ]


def test_a_cancel_ends_it_and_a_pause_too_after_it_has_saved(make: Make, tmp_path: Path) -> None:
    executor = make()
    start(executor, tmp_path, {"steps": 1000, "seconds": 0.05})
    executor.ask(Wish.CANCEL)
    follow(executor)
    with pytest.raises(Faulted) as caught:
        executor.result()
    assert (caught.value.fault.kind, caught.value.fault.traceback) == (ErrorKind.CANCELLED, None)
    executor.end()

    executor = make()
    start(executor, tmp_path, {"steps": 1000, "seconds": 0.05}, checkpoints=tmp_path / "saved")
    executor.ask(Wish.PAUSE)
    assert len(follow(executor).checkpoints) == 1
    with pytest.raises(Paused):
        executor.result()


def test_a_fault_arrives_named_and_a_death_is_a_crash(make: Make, tmp_path: Path) -> None:
    """A ValidationError cannot be pickled: it must be named on the other side."""
    for fault, kind in (("setting", ErrorKind.BAD_INPUT), ("killed", ErrorKind.CRASH)):
        executor = make()
        start(executor, tmp_path, {"steps": 3, "seconds": 0.1, "fault": fault})
        assert [progress.step for progress in follow(executor).progress][:1] in ([1], [])
        with pytest.raises(Faulted) as caught:
            executor.result()
        assert caught.value.fault.kind is kind
        executor.end()


def test_a_stage_that_is_too_busy_to_answer_is_asked_again(process: Make, tmp_path: Path) -> None:
    executor = process()
    start(executor, tmp_path, {"steps": 20, "seconds": 0.05})
    (pid,) = (child.pid for child in psutil.Process().children() if "workers.stage.process" in child.cmdline())
    os.kill(pid, signal.SIGSTOP)
    executor.take(0.1)  # whatever was under way
    assert not executor.take(0.1)
    os.kill(pid, signal.SIGCONT)
    assert len(follow(executor).progress) >= 10


def test_a_stage_that_the_system_killed_for_memory_is_no_crash(process: Make, tmp_path: Path) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("nr_free_pages 5\noom_kill 3\n")
    executor = process()
    assert isinstance(executor, ProcessExecutor)
    executor._memory = OutOfMemoryWatch(counters)
    start(executor, tmp_path, {"steps": 50, "seconds": 0.1})
    (pid,) = (child.pid for child in psutil.Process().children() if "workers.stage.process" in child.cmdline())
    counters.write_text("nr_free_pages 5\noom_kill 4\n")
    os.kill(pid, signal.SIGKILL)
    poll(lambda: executor.over(0.2), "the stage to end")
    with pytest.raises(Faulted) as caught:
        executor.result()
    assert caught.value.fault.kind is ErrorKind.OUT_OF_MEMORY
    assert "micro_batch_size" in caught.value.fault.next_step


def test_a_plain_process_has_one_gpu_at_most(process: Make, tmp_path: Path) -> None:
    with pytest.raises(AttemptError, match="The job asks for 2 GPUs") as caught:
        start(process(), tmp_path, {"steps": 1}, gpus=2.0)
    assert caught.value.kind is ErrorKind.INFEASIBLE


# ---------------------------------------------------------------- GPUs, which only Ray shares out


@pytest.mark.ray
def test_a_stage_sees_the_gpu_of_which_it_has_a_share(on_ray: Make, tmp_path: Path) -> None:
    executor = on_ray()
    start(executor, tmp_path, {"steps": 1}, gpus=0.5)
    ((_, message),) = follow(executor).notes
    assert re.search(r"GPUs '[01]'$", message), message
    assert executor.device == "gpu"


@pytest.mark.ray
def test_the_last_words_of_a_stage_are_in_the_log_when_it_is_over(on_ray: Make, tmp_path: Path) -> None:
    """Also those of one that was killed in the midst of a step."""
    (tmp_path / "script.json").write_text(json.dumps({"steps": 3, "fault": "killed"}))
    executor = on_ray()
    work = StageWork(
        Stage.SFT, {}, {"model": tmp_path}, tmp_path / "out", stub.run, log=tmp_path / "attempt.log", threads=1
    )
    executor.start(work, 0)
    poll(lambda: executor.placed(0.2) is None, "the stage to be placed")
    poll(lambda: executor.over(0.2), "the stage to end")
    assert "WARNING The stage looks at" in (tmp_path / "attempt.log").read_text()


@pytest.mark.ray
def test_what_no_machine_can_ever_give_fails_after_the_grace(on_ray: Make, tmp_path: Path) -> None:
    executor = on_ray()
    work = StageWork(Stage.SFT, {}, {"model": tmp_path}, tmp_path, stub.run)
    executor.start(work, 3.0)
    lack = "3 GPUs, and the cluster's machines have 2, the largest of which has 2"
    assert executor.placed(0.1) == Waiting("infeasible", lack)
    with pytest.raises(AttemptError, match=f"The job asks for {lack}.") as caught:
        poll(lambda: executor.placed(0.1) is None, "the grace to end")
    assert caught.value.kind is ErrorKind.INFEASIBLE


@pytest.mark.ray
def test_when_one_of_several_processes_dies_that_is_what_ended_the_stage(on_ray: Make, tmp_path: Path) -> None:
    executor = on_ray()
    start(executor, tmp_path, {"steps": 5, "seconds": 0.1, "fault": "rank 1 killed"}, gpus=2.0)
    batch = follow(executor)
    ((_, message),) = batch.notes
    assert "'WORLD_SIZE'" in message
    with pytest.raises(Faulted) as caught:
        executor.result()
    assert caught.value.fault.kind is ErrorKind.CRASH


@pytest.mark.ray
def test_each_of_several_processes_sees_its_gpu_under_its_local_rank(on_ray: Make, tmp_path: Path) -> None:
    """Libraries ask for `cuda:LOCAL_RANK`; gloo does not, so that no CPU notices a rank beyond what is seen."""
    executor = on_ray()
    start(executor, tmp_path, {"steps": 1}, gpus=2.0)
    follow(executor)
    told = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]
    assert {one["gpus"] for one in told} == {"0", "1"}
    assert all(int(one["local_rank"]) < len(one["gpus"].split(",")) for one in told)


def test_a_plain_process_sees_one_gpu_of_several(
    process: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.executors.process.has_gpu", lambda: True)
    for visible, seen in ((None, "0"), ("2,3", "2")):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        executor = process()
        start(executor, tmp_path, {"steps": 1}, gpus=1.0)
        ((_, message),) = follow(executor).notes
        assert message.endswith(f"GPUs {seen!r}")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.deep(reason="two processes show it of each stage without Ray, and two actors train PPO in every run")
def test_two_gpus_train_what_one_trains_and_go_on_together_after_a_pause(
    on_ray: Make, process: Make, tmp_path: Path
) -> None:
    """The same eight demonstrations a step: at once, or four on each of two processes that average gradients."""
    base = tiny.save(tiny.causal(), tmp_path / "base")
    prompts = [Prompt.from_text(f"w{i} w{i + 1}") for i in range(24)]
    rows = [Demonstration(prompt=prompt, response=f"w{i} " * (i % 5 + 1)) for i, prompt in enumerate(prompts)]
    (tmp_path / "rows.jsonl").write_text("".join(row.canonical() + "\n" for row in rows))
    config = SFTConfig(max_length=32, batch_size=8, micro_batch_size=4, epochs=2.0, learning_rate=1e-3)

    def begin(executor: Executor, name: str, gpus: float) -> Executor:
        out, saved = tmp_path / name / "out", tmp_path / "saved" / name
        out.mkdir(parents=True)
        inputs = {"model": base, "demonstrations": tmp_path / "rows.jsonl", "checkpoints": saved}
        more = {"resume_from": saved.parent} if gpus else {}
        settings = config.model_dump(mode="json")
        executor.start(StageWork(Stage.SFT, settings, inputs | more, out, stages.run, threads=1), gpus)
        poll(lambda: executor.placed(1.0) is None, "the stage to be placed")
        return executor

    alone = begin(process(), "alone", 0.0)
    assert [progress.step for progress in follow(alone).progress] == [1, 2, 3, 4, 5, 6]

    paused = begin(on_ray(), "1", 2.0)
    paused.ask(Wish.PAUSE)
    (saved,) = follow(paused).checkpoints
    with pytest.raises(Paused):
        paused.result()
    paused.end()

    resumed = begin(on_ray(), "2", 2.0)
    assert [progress.step for progress in follow(resumed).progress] == list(range(saved.step + 1, 7))
    one, two = (executor.result().details["curve"] for executor in (alone, resumed))
    assert [point["loss"] for point in two] == pytest.approx([point["loss"] for point in one], abs=1e-5)
    assert one[-1]["loss"] < one[0]["loss"]
    assert (tmp_path / "2" / "out" / "model.safetensors").exists()
