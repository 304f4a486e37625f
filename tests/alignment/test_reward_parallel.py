"""Two processes with half of each step's rankings each train the same reward model as one with all."""

import multiprocessing
import os
import random
import socket
from pathlib import Path

import pytest
import tiny
import torch
from accelerate.state import AcceleratorState, PartialState

from alignment import opinions, reward_data
from alignment.config import RewardConfig
from alignment.events import NullReporter
from alignment.records import Prompt, Ranking
from alignment.reward_trainer import fit

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


def train(out: Path) -> dict[str, float]:
    rows = [opinions.of_ranking(ranking, CONFIG) for ranking in rankings()[:32]]
    model = tiny.scorer().train()
    examples = reward_data.prepare(rows, tiny.tokenizer(), 64, CONFIG).train
    found = fit(model, tiny.tokenizer(), examples, CONFIG, NullReporter())
    torch.save((model.state_dict(), found), out)
    return found


def one_of_two(rank: int, port: int, out: Path) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    AcceleratorState._reset_state(reset_partial_state=True)  # what the parent's trainers left
    PartialState._reset_state()
    train(out)


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    alone = train(tmp_path / "alone.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=one_of_two, args=(rank, port, tmp_path / f"{rank}.pt")) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    expected, _ = torch.load(tmp_path / "alone.pt")
    for rank in range(2):
        weights, found = torch.load(tmp_path / f"{rank}.pt")
        assert found == pytest.approx(alone, abs=1e-4)
        for name, weight in expected.items():
            torch.testing.assert_close(weights[name], weight, atol=1e-6, rtol=1e-4)
