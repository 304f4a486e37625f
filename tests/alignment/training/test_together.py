"""Two processes with half of each step's rows each train the same model as one with all."""

import multiprocessing
import os
import random
import resource
import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from alignment import sft
from alignment.models import adapters
from alignment.reward import data as reward_data
from alignment.reward.annotations import annotation_of_ranking
from alignment.reward.trainer import fit
from alignment.shared.config import LoRAConfig, RewardConfig, SFTConfig
from alignment.shared.events import Paused
from alignment.shared.records import Demonstration, Prompt, Ranking
from alignment.shared.stages import ResumableInputs
from alignment.training.checkpoints import Checkpoints
from alignment.training.trainer import load_to_train
from annotation_api.db.kinds import ErrorKind
from tests.support.alignment import teams, tiny
from tests.support.alignment.kills import RecordingReporter
from workers.stage.faults import fault_of

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {
    "learning_rate": 3e-3,
    "batch_size": 8,
    "micro_batch_size": 2,
    "max_length": 64,
    "save_every": 4,
}
SHARED = {"shard_weights": True}


def rankings() -> list[Ranking]:
    rng = random.Random(0)
    found = []
    for _ in range(36):
        responses = tuple(dict.fromkeys(" ".join(rng.choices(tiny.WORDS, k=rng.randint(2, 6))) for _ in range(4)))
        order = rng.sample(range(len(responses)), len(responses))
        prompt = Prompt.from_text(" ".join(rng.choices(tiny.WORDS, k=rng.randint(3, 12))))
        found.append(Ranking(prompt=prompt, responses=responses, groups=tuple((i,) for i in order)))
    return found


def scorer(config: RewardConfig) -> Any:
    must_be_first(config)
    return adapters.add_adapters(tiny.scorer(), config.lora, "SEQ_CLS", 0) if config.lora else tiny.scorer()


def tied(_: Any) -> Any:
    must_be_first(STAGES["sft, sharded"][1])
    return tiny.causal(tie_word_embeddings=True).train()


def must_be_first(config: Any) -> None:
    """Of shares the whole is read once."""
    assert not config.shard_weights or os.environ.get("RANK", "0") == "0"


def train_reward(config: RewardConfig, checkpoints: Checkpoints) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    rows = [annotation_of_ranking(ranking, config) for ranking in rankings()[:32]]
    model = load_to_train(lambda _: scorer(config), config)
    examples = reward_data.prepare(rows, tiny.tokenizer(), 64, config).train
    found = fit(model.train(), tiny.tokenizer(), examples, config, checkpoints.reporter, checkpoints)
    return model.state_dict(), found


def train_sft(config: SFTConfig, checkpoints: Checkpoints) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    told = [Demonstration(prompt=r.prompt, response=r.responses[r.groups[0][0]]) for r in rankings()[:32]]
    model, (rows, _) = load_to_train(tied, config), sft.encode_rows(tiny.tokenizer(), told, 64)
    curve = sft._fit(model, tiny.tokenizer(), rows, config, checkpoints)
    return model.state_dict(), {"loss": curve[-1]["loss"]}


STAGES: dict[str, tuple[Callable[..., Any], Any]] = {
    "reward": (train_reward, RewardConfig(**SETTINGS, heldout_fraction=0.0)),
    "reward, sharded": (
        train_reward,
        RewardConfig(**SETTINGS, **SHARED, heldout_fraction=0.0, gradient_checkpointing=True),
    ),
    "reward, adapters sharded": (
        train_reward,
        RewardConfig(**SETTINGS, **SHARED, heldout_fraction=0.0, lora=LoRAConfig(rank=4)),
    ),
    "sft, sharded": (train_sft, SFTConfig(**SETTINGS, **SHARED, epochs=1.0)),
}


def train(stage: str, out: Path, saved: Path | None = None, pause_at: int | None = None) -> None:
    run, config = STAGES[stage]
    reporter = RecordingReporter(pause_at=pause_at)
    weights, found = run(config, Checkpoints("run", config, ResumableInputs(checkpoints=saved), reporter))
    torch.save((weights, found, reporter.steps), out)


def without_room(rank: int, folder: Path, stage: str) -> None:
    """Leave what kind of fault the process ends of, when files of the second one may not grow."""
    AcceleratorState._reset_state(reset_partial_state=True)
    teams.as_on_gpus()
    run, config = STAGES[stage]
    if rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    found = Checkpoints("run", config, ResumableInputs(checkpoints=folder / "checkpoints"), RecordingReporter())
    try:
        run(config, found)
    except Exception as error:
        (folder / f"{rank}.kind").write_text(fault_of(error).kind)


def must_be_told(self: Checkpoints) -> None:
    raise AssertionError("the first process finds the newest checkpoint, and tells the others")


def one_of_two(stage: str, rank: int, port: int, folder: Path, pause_at: int | None) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    AcceleratorState._reset_state(reset_partial_state=True)  # what the parent's trainers left
    if rank > 0:
        Checkpoints._newest = must_be_told
    if STAGES[stage][1].shard_weights:
        teams.as_on_gpus()
    with pytest.raises(Paused) if pause_at else nullcontext():
        train(stage, folder / f"{rank}.pt", folder / "checkpoints", pause_at if rank == 0 else None)


def both(stage: str, folder: Path, pause_at: int | None = None) -> None:
    """Two processes, of which the first is asked to pause."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=one_of_two, args=(stage, rank, port, folder, pause_at)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_train_what_one_trains(stage: str, tmp_path: Path) -> None:
    """Also with a pause in between: both stop at the same step, and go on from one checkpoint, also from the last."""
    train(stage, tmp_path / "alone.pt")
    both(stage, tmp_path, pause_at=3)
    assert [path.name for path in (tmp_path / "checkpoints" / "run").iterdir()] == ["checkpoint-3"]
    expected, alone, _ = torch.load(tmp_path / "alone.pt")
    for left in ([4], []):
        both(stage, tmp_path)
        for rank in range(1 if STAGES[stage][1].shard_weights else 2):  # of shares the first process has the whole
            weights, found, steps = torch.load(tmp_path / f"{rank}.pt")
            assert steps == left
            assert found == pytest.approx(alone, abs=1e-4)
            assert weights.keys() == expected.keys()
            for name, weight in expected.items():
                torch.testing.assert_close(weights[name], weight, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if "sharded" in stage])
def test_where_one_has_no_room_for_its_shares_both_say_so(stage: str, tmp_path: Path) -> None:
    teams.run(2, without_room, tmp_path, stage)
    assert [(tmp_path / f"{rank}.kind").read_text() for rank in range(2)] == [ErrorKind.DISK_FULL] * 2
    assert not list(tmp_path.glob("checkpoints/run/*")), "nothing half-written is left"
