"""A stage gives the same numbers, to the bit, as plain objects in this process and as a Ray actor on a (fake) GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from alignment.shared import stages
from alignment.shared.config import Stage
from alignment.shared.events import NullReporter, StageProgress, StageResult
from alignment.shared.records import Demonstration, Prompt, Ranking, write_jsonl
from tests.support.alignment import tiny
from tests.support.engine_room import poll
from tests.support.ray_head import Head
from workers.stage.work import Batch, StageWork

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PROMPTS = [Prompt.from_text(f"w{i} w{i + 1}") for i in range(16)]
SMALL = {"max_length": 64, "micro_batch_size": 4, "learning_rate": 1e-3}
CONFIGS: dict[Stage, dict[str, Any]] = {
    Stage.SFT: SMALL | {"batch_size": 8},
    Stage.REWARD: SMALL | {"batch_size": 8, "heldout_fraction": 0.3},
    Stage.PPO: SMALL
    | {"batch_size": 8, "updates": 4, "evaluate_every": 2, "evaluate_replies": 16, "max_response_length": 8},
}
SAME = "one actor carries every stage; that of the reward model shows that it adds nothing"


class Remembers(NullReporter):
    def __init__(self) -> None:
        self.lines: list[StageProgress] = []

    def progress(self, progress: StageProgress) -> None:
        self.lines.append(progress)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[Stage, dict[str, Path]]:
    """Models and records for each stage."""
    policy, judge = tmp_path / "policy", tmp_path / "judge"
    tiny.save(tiny.causal(), policy)
    tiny.save(tiny.scorer(), judge)
    files = {name: tmp_path / f"{name}.jsonl" for name in ("demonstrations", "rankings", "prompts")}
    replies = ("w1 w2", "w3", "w4 w5 w6")
    write_jsonl(files["demonstrations"], [Demonstration(prompt=prompt, response=replies[0]) for prompt in PROMPTS])
    order = ((1,), (2,), (0,))
    write_jsonl(files["rankings"], [Ranking(prompt=p, responses=replies, groups=order, annotator="a") for p in PROMPTS])
    write_jsonl(files["prompts"], PROMPTS)
    return {
        Stage.SFT: {"model": policy, "demonstrations": files["demonstrations"]},
        Stage.REWARD: {"model": policy, "rankings": files["rankings"]},
        Stage.PPO: {"model": policy, "reward_model": judge, "prompts": files["prompts"]},
    }


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are taken in the order of the threads: both sides have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "stage",
    [each if each is Stage.REWARD else pytest.param(each, marks=pytest.mark.deep(reason=SAME)) for each in CONFIGS],
)
@pytest.mark.usefixtures("one_thread")
def test_plain_objects_and_an_actor_agree_to_the_bit(
    stage: Stage, inputs: dict[Stage, dict[str, Path]], two_gpus: Head, tmp_path: Path
) -> None:
    plain, reported = tmp_path / "plain", Remembers()
    ours = stages.run(stage, CONFIGS[stage], inputs[stage], plain, reported)
    work = StageWork(stage, CONFIGS[stage], inputs[stage], tmp_path / "actor" / "out", stages.run, threads=1)
    theirs, said = on_ray(work, two_gpus.address)

    assert [line.metrics for line in reported.lines] == [line.metrics for line in said.progress]
    assert asdict(ours) == asdict(theirs)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (plain, work.out_dir)]
    assert weights[0] == weights[1]


def on_ray(work: StageWork, address: str) -> tuple[StageResult, Batch]:
    """What an actor with one of the cluster's GPUs returns, and what it reported."""
    from workers.executors.ray import RayExecutor

    executor, said = RayExecutor(address, Path("unused"), infeasible_seconds=5.0), Batch()
    work.out_dir.parent.mkdir()
    try:
        executor.start(work, gpus=1.0)
        assert executor.device == "gpu"
        poll(lambda: executor.placed(1.0) is None, "the stage to be placed")
        while not executor.over(0.2):
            said += executor.take(0.2)
        said += executor.take(1.0)
        return executor.result(), said
    finally:
        executor.end()
