"""Mirrors to trackers: the same numbers come back from each, and no tracker can fail or slow an attempt."""

from __future__ import annotations

import logging
import struct
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2

from alignment.shared.config import Stage
from alignment.shared.events import StageProgress
from annotation_api.db.tables import Job, JobState
from annotation_api.settings import SettingsError
from annotation_api.worker_settings import MirrorKind, WorkerSettings
from tests.support.engine_room import World
from workers.attempt.mirrors import feed
from workers.attempt.mirrors.feed import Mirrors, environment_of

LOSSES = {1: 2.0, 2: 1.0, 3: 0.625}
FILES = [{"name": "model.safetensors", "sha256": "ab" * 32, "size": 10}]
PATIENCE = 300.0  # with a busy machine: a client loads for seconds on a quiet one


def settings(home: Path, **more: Any) -> WorkerSettings:
    return WorkerSettings(home=home, database_url="postgresql://not-asked", **more)


def job() -> Job:
    config = {"learning_rate": 0.001, "lora": {"rank": 8}, "save_every": None}
    given = {"inputs": {"model": {"model": "m"}}, "gpus": 0.0}
    return Job(id=uuid.uuid4(), stage=Stage.SFT, name="first", tags=["toy"], config=config, **given)


def told(home: Path, one: Job, **more: Any) -> None:
    """An attempt of three steps, from its start to the last line."""
    mirrors = Mirrors(settings(home, **more), home)
    mirrors.start(one, 1)
    mirrors.metrics([StageProgress("train", step, 3, 1.0, None, {"loss": loss}) for step, loss in LOSSES.items()])
    mirrors.metrics([StageProgress("train", 4, 4, 1.0, None, {"loss": float("nan")})])
    mirrors.ended("succeeded", {"loss": 0.5}, FILES)
    mirrors.close()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CLOSE_SECONDS", PATIENCE)


def test_tensorboard_reads_the_same_numbers_back(tmp_path: Path) -> None:
    one = job()
    told(tmp_path, one, mirrors=("tensorboard",))
    (folder,) = (tmp_path / "mirrors" / "tensorboard").iterdir()
    assert folder.name == f"sft-{one.id}-1"
    events = EventAccumulator(str(folder)).Reload()
    assert {event.step: event.value for event in events.Scalars("train/loss")} == LOSSES
    assert [event.value for event in events.Scalars("final/loss")] == [0.5]
    text = events.Tensors("parameters")[0].tensor_proto.string_val[0].decode()
    assert '"lora.rank": 8' in text


def test_mlflow_reads_the_same_numbers_back(tmp_path: Path) -> None:
    address, one = f"sqlite:///{tmp_path / 'tracking.db'}", job()
    told(tmp_path, one, mirrors=("mlflow",), mlflow_uri=address, mirror_project="ours")
    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name("ours")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert {metric.step: metric.value for metric in history} == LOSSES
    assert run.data.metrics["final/loss"] == 0.5
    assert (run.data.params["lora.rank"], run.data.params["learning_rate"]) == ("8", "0.001")
    assert run.data.tags["rankloop.job"] == str(one.id)
    assert run.data.tags["rankloop.file.model.safetensors"].startswith("sha256:abab")
    assert run.info.status == "FINISHED"


HEADER, BLOCK, WHOLE, LAST = 7, 32 * 1024, 1, 4


def records(data: bytes) -> Iterator[bytes]:
    """What a file of W&B holds: LevelDB's log format, a header of seven bytes before it."""
    at, kept = HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # what is left of a block is padding
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + HEADER])
        kept += data[at + HEADER : at + HEADER + size]
        at += HEADER + size
        if kind in (WHOLE, LAST):
            yield kept
            kept = b""


def test_wandb_reads_the_same_numbers_back_offline(tmp_path: Path) -> None:
    told(tmp_path, job(), mirrors=("wandb",))
    (file,) = (tmp_path / "mirrors" / "wandb").glob("offline-run-*/*.wandb")
    rows: list[dict[str, str]] = []
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): item.value_json for item in items})
    losses = {int(row["train/step"]): float(row["train/loss"]) for row in rows if "train/loss" in row}
    assert losses == LOSSES


STUCK = [sys.executable, "-c", "import time; time.sleep(600)"]
REFUSES = [sys.executable, "-c", "import sys; sys.exit(3)"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (STUCK, "did not catch up"),
        (REFUSES, "ended with 3"),
        (["/no/such/program"], "cannot be started"),
    ],
)
def test_a_tracker_that_is_away_slow_or_refuses_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, command: list[str], said: str
) -> None:
    monkeypatch.setattr(feed, "CLOSE_SECONDS", 2.0)
    monkeypatch.setattr(feed, "command_of", lambda kind: command)
    mirrors = Mirrors(settings(tmp_path, mirrors=("tensorboard",)), tmp_path)
    mirrors.start(job(), 1)
    line = StageProgress("train", 1, 1, 1.0, None, {f"metric {n}": 1.0 for n in range(40)})
    began = time.monotonic()
    mirrors.metrics([line] * 3 * feed.MOST_WAITING)  # far beyond a pipe and the queue
    spent = time.monotonic() - began
    with caplog.at_level(logging.WARNING):
        began = time.monotonic()
        mirrors.close()
        closing = time.monotonic() - began
    assert spent < 30  # 15,000 lines, none of which waits; seconds even on a busy machine
    assert closing < 20
    assert said in caplog.text or (said == "cannot be started" and not mirrors._mirrors[0]._process)


def test_a_tracker_that_is_not_installed_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hidden = "import sys; sys.modules['tensorboard'] = None; from workers.attempt.mirrors.process import main; "
    monkeypatch.setattr(
        feed, "command_of", lambda kind: [sys.executable, "-c", hidden + "sys.exit(main('tensorboard'))"]
    )
    told(tmp_path, job(), mirrors=("tensorboard",))
    assert "install tensorboard (the extra `mirrors`)" in capfd.readouterr().err


def test_each_tracker_gets_its_own_secret_and_no_other(tmp_path: Path) -> None:
    given = settings(tmp_path, mlflow_token="m" * 20, wandb_key="w" * 20)
    environments = {kind: environment_of(kind, given) for kind in MirrorKind}
    assert environments[MirrorKind.MLFLOW]["MLFLOW_TRACKING_TOKEN"] == "m" * 20
    assert environments[MirrorKind.WANDB]["WANDB_API_KEY"] == "w" * 20
    assert "w" * 20 not in environments[MirrorKind.MLFLOW].values()
    assert not {"m" * 20, "w" * 20} & set(environments[MirrorKind.TENSORBOARD].values())
    assert "m" * 20 not in repr(given)


def test_mirrors_are_chosen_by_a_setting_and_off_by_default() -> None:
    assert WorkerSettings.from_environment({}).mirrors == ()
    chosen = WorkerSettings.from_environment({"RANKLOOP_MIRRORS": "tensorboard, wandb"}).mirrors
    assert chosen == (MirrorKind.TENSORBOARD, MirrorKind.WANDB)
    with pytest.raises(SettingsError, match="RANKLOOP_MLFLOW_URI cannot be used: the mirror mlflow needs it"):
        WorkerSettings.from_environment({"RANKLOOP_MIRRORS": "mlflow"})
    with pytest.raises(SettingsError, match="RANKLOOP_MIRRORS"):
        WorkerSettings.from_environment({"RANKLOOP_MIRRORS": "comet"})


@pytest.mark.postgres
def test_a_launcher_feeds_its_mirror_and_leaves_a_card(world: World) -> None:
    world.environment["RANKLOOP_MIRRORS"] = "tensorboard"
    key = world.job({"steps": 5})
    world.dispatcher()
    assert world.wait(key).state is JobState.SUCCEEDED
    (version,) = world.versions(key)
    card = (Path(version.path) / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: ")
    assert "- demonstrations: 1 demonstrations, SHA-256 `" in card
    assert "| loss | 0.25 |" in card
    folder = world.home / "mirrors" / "tensorboard" / f"sft-{key}-1"
    deadline = time.monotonic() + PATIENCE
    while not (folder.is_dir() and "final/loss" in EventAccumulator(str(folder)).Reload().Tags()["scalars"]):
        assert time.monotonic() < deadline, world.report()
        time.sleep(0.2)
    events = EventAccumulator(str(folder)).Reload()
    assert {event.step: round(event.value, 6) for event in events.Scalars("train/loss")} == {
        1: 1.0, 2: 0.5, 3: 0.333333, 4: 0.25, 5: 0.2,
    }  # fmt: skip
