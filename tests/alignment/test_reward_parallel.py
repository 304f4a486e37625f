"""Two processes with half of each step's rankings each train the same reward model as one with all."""

import multiprocessing
import os
import random
import socket
from contextlib import nullcontext
from pathlib import Path

import pytest
import tiny
import torch
from accelerate.state import AcceleratorState, PartialState
from kills import Hearing

from alignment import opinions, reward_data
from alignment.config import RewardConfig
from alignment.events import Paused
from alignment.records import Prompt, Ranking
from alignment.resume import Checkpoints
from alignment.reward_trainer import fit
from alignment.stages import ResumableInputs

CONFIG = RewardConfig(learning_rate=3e-3, batch_size=8, micro_batch_size=2, max_length=64, heldout_fraction=0.0)


def rankings() -> list[Ranking]:
    rng = random.Random(0)
    found = []
    for _ in range(36):
        responses = tuple(dict.fromkeys(" ".join(rng.choices(tiny.WORDS, k=rng.randint(2, 6))) for _ in range(4)))
        order = rng.sample(range(len(responses)), len(responses))
        prompt = Prompt.from_text(" ".join(rng.choices(tiny.WORDS, k=rng.randint(3, 12))))
        found.append(Ranking(prompt=prompt, responses=responses, groups=tuple((i,) for i in order)))
    return found


def train(out: Path, saved: Path | None = None, pause_at: int | None = None) -> dict[str, float]:
    rows = [opinions.of_ranking(ranking, CONFIG) for ranking in rankings()[:32]]
    model = tiny.scorer().train()
    examples = reward_data.prepare(rows, tiny.tokenizer(), 64, CONFIG).train
    reporter = Hearing(pause_at=pause_at)
    checkpoints = Checkpoints("run", CONFIG, ResumableInputs(checkpoints=saved), reporter)
    found = fit(model, tiny.tokenizer(), examples, CONFIG, reporter, checkpoints)
    torch.save((model.state_dict(), found, reporter.steps), out)
    return found


def one_of_two(rank: int, port: int, folder: Path, pause_at: int | None) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    AcceleratorState._reset_state(reset_partial_state=True)  # what the parent's trainers left
    PartialState._reset_state()
    with pytest.raises(Paused) if pause_at else nullcontext():
        train(folder / f"{rank}.pt", folder / "checkpoints", pause_at if rank == 0 else None)


def both(folder: Path, pause_at: int | None = None) -> None:
    """Two processes, of which the first is asked to pause."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=one_of_two, args=(rank, port, folder, pause_at)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    """Also with a pause in between: both stop at the same step, and go on from one checkpoint."""
    alone = train(tmp_path / "alone.pt")
    both(tmp_path, pause_at=3)
    assert [path.name for path in (tmp_path / "checkpoints" / "run").iterdir()] == ["checkpoint-3"]
    both(tmp_path)
    expected, *_ = torch.load(tmp_path / "alone.pt")
    for rank in range(2):
        weights, found, steps = torch.load(tmp_path / f"{rank}.pt")
        assert steps == [4]
        assert found == pytest.approx(alone, abs=1e-4)
        for name, weight in expected.items():
            torch.testing.assert_close(weights[name], weight, atol=1e-6, rtol=1e-4)
