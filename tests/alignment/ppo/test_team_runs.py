"""Whole runs of several processes: what they leave, go on from, and how they end together."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from alignment.ppo import loop, update
from alignment.rollout.streams import Streams
from alignment.shared import artifact, stages
from alignment.shared.config import PPOConfig, Stage
from alignment.shared.errors import StageError
from alignment.shared.events import NullReporter, Paused
from annotation_api.db.kinds import ErrorKind
from tests.support.alignment import teams
from tests.support.alignment.kills import RecordingReporter
from tests.support.alignment.small_ppo import SETTINGS, inputs_of
from workers.stage.faults import fault_of

pytestmark = pytest.mark.slow

RUN = SETTINGS | {"batch_size": 6, "micro_batch_size": 3, "inner_epochs": 2, "updates": 5, "evaluate_every": 2}
RUN |= {"save_every": 1, "evaluate_replies": 9, "score_normalisation": "running", "kl_controller": "adaptive"}


def run(
    rank: int, folder: Path, out: Path, pause_at: int | None = None, settings: dict[str, Any] | None = None
) -> None:
    """One process of a run; what it said of its end stands in `said-RANK.json`."""
    reporter = RecordingReporter(pause_at=pause_at if rank == 0 else None)
    inputs = inputs_of(folder) | {"checkpoints": folder / "saved"}
    said: dict[str, Any] = {}
    try:
        result = stages.run(Stage.PPO, RUN | (settings or {}), inputs, out / f"rank-{rank}", reporter)
        said = {"curve": result.details["curve"]}
    except Paused:
        said = {"paused": True}
    except StageError as error:
        said = {"kind": type(error).__name__, "cause": error.cause}
    said |= {"steps": reporter.steps, "saved": len(reporter.saved)}
    (out / f"said-{rank}.json").write_text(json.dumps(said))


def several(size: int, folder: Path, name: str, work: Callable[..., None] = run, *more: Any) -> list[dict[str, Any]]:
    """What each process said."""
    out = folder / name
    out.mkdir()
    teams.run(size, work, folder, out, *more)
    return [json.loads((out / f"said-{rank}.json").read_text()) for rank in range(size)]


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(folder / name / "rank-0" / "model.safetensors")


def kept_apart(folder: Path) -> Path:
    """The checkpoints, out of the way of the next run."""
    return folder.joinpath("saved").rename(folder / "apart")


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="copies", marks=pytest.mark.deep(reason="the killed run shows what copies go on from")),
        pytest.param({"shard_weights": True, "ema_decay": 0.5}, id="shares"),
    ],
)
def test_a_checkpoint_of_two_processes_goes_on_with_two_one_and_four(folders: Path, more: dict[str, Any]) -> None:
    """With as many bit by bit; with others the tokens are the same and the numbers as near as sums allow."""
    whole = several(2, folders, "whole", run, None, more)
    assert [said["steps"] for said in whole] == [[1, 2, 3, 4, 5], []]
    assert not (folders / "whole" / "rank-1" / "model.safetensors").exists(), "one process writes the whole"
    shutil.rmtree(folders / "saved")
    assert [said.get("paused") for said in several(2, folders, "paused", run, 3, more)] == [True, True]
    apart = kept_apart(folders)
    for size in (2, 1, 4):
        shutil.copytree(apart, folders / "saved", dirs_exist_ok=True)
        said = several(size, folders, f"on-{size}", run, None, more)
        assert said[0]["steps"] == [4, 5]
        for mine, theirs in zip(said[0]["curve"], whole[0]["curve"], strict=True):
            assert mine["response_length"] == theirs["response_length"]
            assert mine == pytest.approx(theirs, abs=1e-3)
        exact = {"atol": 0.0, "rtol": 0.0} if size == 2 else {"atol": 1e-3, "rtol": 0.0}
        torch.testing.assert_close(weights(folders, f"on-{size}"), weights(folders, "whole"), **exact)
        shutil.rmtree(folders / "saved")


class Killed(RecordingReporter):
    """Ends its process once `at` steps were asked about: every process asks as often."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.asked = at, 0

    def cancelled(self) -> bool:
        self.asked += 1
        if self.asked == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return False


def one_dies(rank: int, folder: Path, out: Path, victim: int, at: int) -> None:
    reporter = Killed(at) if rank == victim else NullReporter()
    inputs = inputs_of(folder) | {"checkpoints": folder / "saved"}
    stages.run(Stage.PPO, RUN, inputs, out / f"rank-{rank}", reporter)


@pytest.mark.parametrize(
    "points",
    [1, pytest.param(5, marks=pytest.mark.deep(reason="one death shows what five do, but for where it falls"))],
)
def test_when_one_of_four_is_killed_all_end_and_the_run_goes_on_to_the_same_weights(folders: Path, points: int) -> None:
    several(4, folders, "whole")
    rng = random.Random(points)
    for number in range(points):
        shutil.rmtree(folders / "saved")
        (folders / f"dead-{number}").mkdir()
        victim, at = rng.randrange(4), rng.randint(2, 4)
        started = teams.processes(4, one_dies, folders, folders / f"dead-{number}", victim, at)
        for process in started:
            process.join(teams.PATIENCE)
        assert started[victim].exitcode == -signal.SIGKILL
        assert all(process.exitcode for process in started), "none goes on alone"
        said = several(4, folders, f"again-{number}")
        assert said[0]["steps"][0] > 1
        torch.testing.assert_close(weights(folders, f"again-{number}"), weights(folders, "whole"), atol=0, rtol=0)


def without_room(rank: int, folder: Path, out: Path) -> None:
    """Files of the second process may not grow beyond 20 kB once a checkpoint is whole."""

    class Filling(RecordingReporter):
        def paused(self) -> bool:
            if rank == 1 and list((folder / "saved").glob("*/checkpoint-*")):
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
            return False

    said = {"kind": "none"}
    try:
        inputs = inputs_of(folder) | {"checkpoints": folder / "saved"}
        stages.run(Stage.PPO, RUN | {"shard_weights": True}, inputs, out / f"rank-{rank}", Filling())
    except (StageError, OSError) as error:
        said = {"kind": fault_of(error, PPOConfig).kind}
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (out / f"said-{rank}.json").write_text(json.dumps(said))


def test_where_one_has_no_room_for_its_shares_all_say_so_and_the_one_before_stays(folders: Path) -> None:
    assert [said["kind"] for said in several(2, folders, "full", without_room)] == [ErrorKind.DISK_FULL] * 2
    (whole,) = folders.glob("saved/*")
    names = sorted(path.name for path in whole.iterdir())
    assert names
    assert all(name.startswith("checkpoint-") for name in names), "nothing half-written is left"
    artifact.verify(whole / names[-1])


def one_diverges(rank: int, folder: Path, out: Path) -> None:
    if rank == 1:
        right = update.value_loss
        update.value_loss = lambda *of: right(*of)._replace(loss=right(*of).loss * float("nan"))  # type: ignore[assignment]
    run(rank, folder, out)


def test_when_one_diverges_all_stop_and_it_is_named(folders: Path) -> None:
    for said in several(2, folders, "diverged", one_diverges):
        assert said["kind"] == "Diverged"
        assert said["cause"] == "value_loss became nan in process 2 of 2."
    assert not list(folders.glob("diverged/rank-*/*.safetensors"))


def test_a_run_that_began_on_one_stream_goes_on_on_it(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older version saved: nothing in it says that responses have streams of their own."""
    with monkeypatch.context() as older:
        older.setattr(loop, "Streams", lambda seed, shared: Streams(seed, shared, own=False))
        several(1, folders, "whole")
        shutil.rmtree(folders / "saved")
        several(1, folders, "paused", run, 3)
    (saved,) = folders.glob("saved/*/checkpoint-3")
    rest = json.loads((saved / "state.json").read_text())
    assert rest.pop("own_streams") is False
    (saved / "state.json").write_text(json.dumps(rest))
    (saved / artifact.MANIFEST).unlink()
    artifact.write_manifest(saved)
    assert several(1, folders, "on")[0]["steps"] == [4, 5]
    torch.testing.assert_close(weights(folders, "on"), weights(folders, "whole"), atol=0, rtol=0)


def sampled(rank: int, folder: Path, out: Path) -> None:
    reporter = RecordingReporter()
    inputs = {"models": {"a": folder / "sft"}, "prompts": folder / "prompts.jsonl"}
    settings = {"responses_per_prompt": 3, "max_response_length": 8, "batch_size": 16}
    result = stages.run(Stage.SAMPLE, settings, inputs, out / f"rank-{rank}", reporter)
    (out / f"said-{rank}.json").write_text(json.dumps({"metrics": dict(result.metrics), "steps": reporter.steps}))


def test_several_processes_draw_the_samples_that_one_draws(folders: Path) -> None:
    (alone,) = several(1, folders, "one", sampled)
    for size in (2, 3):
        first, *others = several(size, folders, f"of-{size}", sampled)
        assert first["metrics"] == alone["metrics"]
        assert first["steps"][-1] == alone["steps"][-1]
        assert all(other == {"metrics": {}, "steps": []} for other in others)
        written = [(folders / name / "rank-0" / "responses.jsonl").read_bytes() for name in ("one", f"of-{size}")]
        assert written[0] == written[1]
