"""Runs of a stage in child processes of this one, ended by SIGKILL in the midst of a step or of saving."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

import alignment.ppo.stage
import alignment.reward.stage
import alignment.sft  # noqa: F401  # what a stage imports is here before a child is forked: no child need load it again
from alignment.shared import artifact as checkpoint
from alignment.shared import stages
from alignment.shared.config import CONFIGS, Stage
from alignment.shared.events import NullReporter, SavedCheckpoint, StageProgress
from alignment.shared.sentence import Sentence


@dataclass(frozen=True)
class Run:
    """One stage with its settings and files."""

    stage: Stage
    config: dict[str, Any]
    inputs: dict[str, Any]

    def into(self, out: Path, reporter: NullReporter) -> bytes:
        """Run it to its end; everything that it leaves in `out`, file by file."""
        shutil.rmtree(out, ignore_errors=True)
        result = stages.run(self.stage, self.config, self.inputs, out, reporter)
        checkpoint.write_result(out, CONFIGS[self.stage].model_validate(self.config).model_dump(mode="json"), result)
        return content(out)


@dataclass
class RecordingReporter(NullReporter):
    """Remembers what it is told; asks for a pause once `pause_at` steps are done."""

    pause_at: int | None = None
    steps: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    saved: list[SavedCheckpoint] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)

    def evaluation(self, update: int, rows: Sequence[Mapping[str, Any]]) -> None:
        self.evaluations.append(update)

    def progress(self, progress: StageProgress) -> None:
        self.steps.append(progress.step)

    def note(self, message: Sentence, *, level: str = "info") -> None:
        self.notes.append(f"{level}: {message}")

    def checkpoint(self, saved: SavedCheckpoint) -> None:
        self.saved.append(saved)

    def paused(self) -> bool:
        return self.pause_at is not None and len(self.steps) >= self.pause_at


class Piping(NullReporter):
    """Says into a pipe what it hears, so that the parent can kill where it wants to."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.steps = pipe, 0

    def progress(self, progress: StageProgress) -> None:
        self.steps += 1
        self.pipe.send(self.steps)

    def note(self, message: Sentence, *, level: str = "info") -> None:
        self.pipe.send(f"{level}: {message}")


def content(folder: Path) -> bytes:
    """All files of a folder, with their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return b"".join(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() for path in files)


def attempt(run: Run, out: Path, steps: int | None, rng: random.Random) -> tuple[int, list[str]]:
    """Run it in a child that is killed in the midst of the step after its first `steps`; its exit code and notes.

    Every other child ends itself instead, in the midst of the first saving after those steps.
    """
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    saving = steps is not None and rng.random() < 0.5
    child = fork.Process(target=_child, args=(run, out, theirs, steps if saving else None, rng.randrange(2**32)))
    child.start()
    theirs.close()
    notes = []
    try:
        while True:
            said = ours.recv()
            if isinstance(said, str):
                notes.append(said)
            elif said == steps and not saving:
                ours.poll(rng.uniform(0, 0.02))  # a part of the next step
                os.kill(child.pid or 0, signal.SIGKILL)
    except EOFError:
        child.join()
    return child.exitcode or 0, notes


def _child(run: Run, out: Path, pipe: Connection, steps: int | None, seed: int) -> None:
    reporter = Piping(pipe)
    torch.manual_seed(seed)  # as another process would: nothing may hang on what was drawn before
    if steps is not None:
        pytest.MonkeyPatch().setattr(
            "alignment.training.checkpoints.publish", _dying(reporter, steps, random.Random(seed))
        )
    run.into(out, reporter)


def _dying(reporter: Piping, steps: int, rng: random.Random) -> Callable[[Path, Path], str]:
    """In place of `publish`: at the first checkpoint after `steps` steps the process ends itself on the way."""

    patch = pytest.MonkeyPatch()

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def publish(staging: Path, final: Path) -> str:
        if reporter.steps < steps:
            return checkpoint.publish(staging, final)
        files = [path for path in sorted(staging.rglob("*")) if path.is_file()]
        where = rng.choice(["write", "fsync", "manifest", "rename", "after"])
        if where == "write":  # the file that was being written is cut, later ones are not there yet
            number = rng.randrange(len(files))
            os.truncate(files[number], rng.randrange(files[number].stat().st_size))
            for path in files[number + 1 :]:
                path.unlink()
            die()
        if where == "fsync":
            left = iter(range(rng.randrange(len(files)), -1, -1))
            patch.setattr("alignment.shared.artifact.os.fsync", lambda _: None if next(left) else die())
        if where == "manifest":
            patch.setattr("alignment.shared.artifact.canonical_json", lambda _: die())
        if where == "rename":
            patch.setattr("alignment.shared.artifact.os.rename", lambda *_: die())
        digest = checkpoint.publish(staging, final)
        die()
        return digest

    return publish


def killed_and_finished(run: Run, out: Path, steps: int, kills: int, rng: random.Random) -> tuple[bytes, list[str]]:
    """Kill the run of `steps` steps that often, at random, and start it again; what it leaves, and what was noted."""
    notes = []
    cuts = sorted(rng.sample(range(1, steps - 2), kills))
    for before, cut in zip([0, *cuts], cuts, strict=False):
        code, said = attempt(run, out, cut - before, rng)
        assert code == -signal.SIGKILL, f"exit code {code} after {cut - before} steps: {said}"
        notes += said
    code, said = attempt(run, out, None, rng)
    assert code == 0, said
    return content(out), notes + said
