"""A reward model whose training is killed and started again has the weights of one that was not."""

import multiprocessing
import os
import random
import shutil
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import tiny

from alignment import reward_trainer, stages
from alignment.events import NullReporter, Progress
from alignment.records import Prompt, Ranking, write_jsonl

STEPS = 18  # 36 prompts, 4 a step, 2 epochs
SETTINGS = {
    "learning_rate": 3e-3,
    "batch_size": 4,
    "micro_batch_size": 2,
    "max_length": 64,
    "epochs": 2.0,
    "heldout_fraction": 0.0,
    "save_every": 3,
}


class Piping(NullReporter):
    """Says every step into a pipe, so that the parent can kill at the one it drew."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.notes = pipe, []

    def progress(self, progress: Progress) -> None:
        self.pipe.send(progress.step)


class Listening(NullReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str, *, level: str = "info") -> None:
        self.notes.append(message)


def rankings() -> list[Ranking]:
    rng = random.Random(0)
    found = []
    for _ in range(36):
        responses = tuple(dict.fromkeys(" ".join(rng.choices(tiny.WORDS, k=rng.randint(2, 6))) for _ in range(4)))
        order = rng.sample(range(len(responses)), len(responses))
        prompt = Prompt.from_text(" ".join(rng.choices(tiny.WORDS, k=rng.randint(3, 12))))
        found.append(Ranking(prompt=prompt, responses=responses, groups=tuple((i,) for i in order)))
    return found


def train(folder: Path, out: Path, checkpoints: Path, reporter: NullReporter) -> bytes:
    inputs = {"model": folder / "sft", "rankings": folder / "rankings.jsonl", "checkpoints": checkpoints}
    checkpoints.mkdir(exist_ok=True)
    stages.run(stages.Stage.REWARD, SETTINGS, inputs, out, reporter)
    return (out / "model.safetensors").read_bytes()


def killed_at(step: int, folder: Path, checkpoints: Path) -> None:
    """Train in a process of its own and SIGKILL it when it has done `step` steps."""
    ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)
    out = folder / "killed"
    child = multiprocessing.get_context("fork").Process(target=train, args=(folder, out, checkpoints, Piping(theirs)))
    child.start()
    done = 0
    while done < step:
        assert ours.poll(120), "the child says nothing"
        done = ours.recv()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    shutil.rmtree(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("resume")
    tiny.save(tiny.causal(), made / "sft")
    write_jsonl(made / "rankings.jsonl", rankings())
    return made


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> bytes:
    return train(folder, folder / "whole", folder / "unused", NullReporter())


@pytest.mark.parametrize("epoch", [0, 1])
def test_killed_at_a_random_step_and_resumed(folder: Path, undisturbed: bytes, epoch: int) -> None:
    step = random.SystemRandom().randint(4, 8) + epoch * STEPS // 2
    checkpoints = folder / f"checkpoints-{epoch}"
    killed_at(step, folder, checkpoints)
    listening = Listening()
    again = train(folder, folder / f"resumed-{epoch}", checkpoints, listening)
    said = [note for note in listening.notes if note.startswith("Going on from checkpoint-")]
    assert said, f"killed at step {step}, but started anew"
    assert again == undisturbed, f"killed at step {step}: {said[0]}"


def test_a_checkpoint_that_is_cut_short_is_passed_over(folder: Path, undisturbed: bytes) -> None:
    checkpoints = folder / "damaged"
    killed_at(8, folder, checkpoints)
    run = next(checkpoints.glob("*/member-0"))
    newest = reward_trainer.newest_checkpoint(run)
    assert newest is not None
    (newest / "optimizer.pt").write_bytes(b"half")
    before = reward_trainer.newest_checkpoint(run)
    assert before is not None
    assert int(before.name.split("-")[1]) < int(newest.name.split("-")[1])
    assert train(folder, folder / "mended", checkpoints, NullReporter()) == undisturbed


def test_other_data_begins_anew(folder: Path, tmp_path: Path) -> None:
    """Checkpoints of one run are never taken for another's."""
    checkpoints = folder / "damaged"
    shutil.copytree(folder / "sft", tmp_path / "sft")
    write_jsonl(tmp_path / "rankings.jsonl", rankings()[:8])
    listening = Listening()
    train(tmp_path, tmp_path / "out", checkpoints, listening)
    assert not any("Going on" in note for note in listening.notes)
