"""Checkpoints of two processes that each write and read a share: what is said where that fails, and what stays."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignment.shared import artifact, stages
from alignment.shared.config import PPOConfig, Stage
from alignment.shared.events import Paused
from alignment.training import checkpoints, shards
from annotation_api.db.kinds import ErrorKind
from tests.support.alignment import teams
from tests.support.alignment.kills import RecordingReporter
from tests.support.alignment.small_ppo import SETTINGS, inputs_of
from workers.stage.faults import fault_of

pytestmark = pytest.mark.slow

RUN = SETTINGS | {"batch_size": 6, "micro_batch_size": 3, "updates": 3, "evaluate_every": 2, "save_every": 1}
RUN |= {"evaluate_replies": 9, "shard_weights": True}
Breaks = Callable[[int, Path], None]  # what goes wrong in the process of that rank


def run(rank: int, folder: Path, pause_at: int | None, breaks: Breaks) -> None:
    """One process of a run; what it said of its end stands in `said-RANK.json`."""
    breaks(rank, folder)
    reporter = RecordingReporter(pause_at=pause_at if rank == 0 else None)
    said: dict[str, Any] = {}
    try:
        inputs = inputs_of(folder) | {"checkpoints": folder / "saved"}
        stages.run(Stage.PPO, RUN, inputs, folder / f"rank-{rank}", reporter)
    except Paused:
        said = {"paused": True}
    except Exception as error:
        fault = fault_of(error, PPOConfig)
        said = {"kind": fault.kind, "cause": fault.cause}
    said |= {"steps": reporter.steps, "notes": reporter.notes}
    (folder / f"said-{rank}.json").write_text(json.dumps(said))


def nothing(rank: int, folder: Path) -> None:
    """All is well."""


def both(folder: Path, breaks: Breaks = nothing, pause_at: int | None = None) -> list[dict[str, Any]]:
    """What each process said."""
    teams.run(2, run, folder, pause_at, breaks)
    return [json.loads((folder / f"said-{rank}.json").read_text()) for rank in range(2)]


def test_where_one_cannot_read_its_shares_both_say_why(folders: Path) -> None:
    def unread(rank: int, folder: Path) -> None:
        def read_data(*_: object) -> None:
            raise OSError(5, "Input/output error", "a share")

        if rank == 1:
            shards.HuggingFaceStorageReader.read_data = read_data  # type: ignore[method-assign,assignment]

    both(folders, pause_at=1)
    for said in both(folders, unread):
        assert "Input/output error: 'a share'" in said["cause"]


def test_where_the_first_cannot_make_the_folder_both_say_why(folders: Path) -> None:
    """Of a fault that the second only hears the end of, the service would tell the end."""

    def in_the_way(rank: int, folder: Path) -> None:
        def shut(*_: object) -> None:
            raise OSError(5, "Input/output error", "the folder")

        if rank == 0:
            checkpoints.Checkpoints._make_room = shut  # type: ignore[method-assign,assignment]

    for said in both(folders, in_the_way):
        assert said["kind"] == ErrorKind.INTERNAL
        assert "Input/output error: 'the folder'" in said["cause"]


@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_while_both_write_publishes_nothing(folders: Path, victim: int) -> None:
    def dies(rank: int, folder: Path) -> None:
        write = shards.HuggingFaceStorageWriter.write_data

        def writes(*given: Any) -> Any:
            written = write(*given)
            os.kill(os.getpid(), signal.SIGKILL)
            return written

        if rank == victim:
            shards.HuggingFaceStorageWriter.write_data = writes  # type: ignore[method-assign]

    both(folders, pause_at=1)
    started = teams.processes(2, run, folders, None, dies)
    for process in started:
        process.join(teams.PATIENCE)
    assert started[victim].exitcode == -signal.SIGKILL
    other = json.loads((folders / f"said-{1 - victim}.json").read_text())
    assert other["kind"] == ErrorKind.CLUSTER
    (whole,) = folders.glob("saved/*/checkpoint-*")
    artifact.verify(whole)
    first, _ = both(folders)
    assert first["steps"] == [2, 3]
