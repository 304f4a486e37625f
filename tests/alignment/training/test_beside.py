"""A checkpoint is written beside training: nobody waits for it but a pause, the next one and the end."""

from __future__ import annotations

import errno
import shutil
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState

from alignment.shared.config import PPOConfig
from alignment.shared.errors import Cancelled, DiskFull, StageError
from alignment.shared.events import Paused
from alignment.shared.stages import ResumableInputs
from alignment.training import trainer
from alignment.training.beside import Beside, beside
from alignment.training.checkpoints import Checkpoints
from alignment.training.team import Team
from tests.support.alignment.kills import RecordingReporter

PATIENCE = 60.0
Usage = namedtuple("Usage", "total used free")


class Written:
    """Writes one file once `opened`, or fails."""

    def __init__(self, failing: OSError | None = None) -> None:
        self.opened, self.failing = threading.Event(), failing

    def write(self, folder: Path, group: object) -> None:
        assert self.opened.wait(PATIENCE)
        if self.failing:
            raise self.failing
        (folder / "weights").write_text("whole")


def at_once(failing: OSError | None = None) -> Written:
    made = Written(failing)
    made.opened.set()
    return made


def full() -> Written:
    return at_once(OSError(errno.ENOSPC, "No space left on device"))


def checkpoints(folder: Path, pause_at: int | None = None, **settings: object) -> tuple[Checkpoints, RecordingReporter]:
    reporter = RecordingReporter(pause_at=pause_at)
    config = PPOConfig.model_validate({"save_every": 1} | settings)
    return Checkpoints("run", config, ResumableInputs(checkpoints=folder), reporter), reporter


def there(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "run").iterdir())


def test_a_step_border_does_not_wait_for_the_writing(tmp_path: Path) -> None:
    saved, reporter = checkpoints(tmp_path)
    slow = Written()
    with beside(saved, shares=False) as saving:
        saving.border(1, 9, lambda: slow)
        assert there(tmp_path) == ["partial"]
        slow.opened.set()
        saving.border(2, 9, at_once)
    assert [one.step for one in reporter.saved] == [1, 2]
    assert there(tmp_path) == ["checkpoint-1", "checkpoint-2"]


def test_memory_and_disk_hold_one_at_a_time(tmp_path: Path) -> None:
    """The next copy is made when the one before is whole."""
    saved, reporter = checkpoints(tmp_path)
    slow, made = Written(), list[int]()

    def copy() -> Written:
        made.append(len(reporter.saved))
        return at_once()

    with beside(saved, shares=False) as saving:
        saving.border(1, 9, lambda: slow)
        threading.Timer(0.05, slow.opened.set).start()
        saving.border(2, 9, copy)
        saving.border(3, 9, copy)
    assert made == [1, 2]


def test_by_the_clock_none_is_due_while_one_is_written(tmp_path: Path) -> None:
    saved, reporter = checkpoints(tmp_path, save_every=None, save_minutes=1e-9)
    slow = Written()
    with beside(saved, shares=False) as saving:
        saving.border(1, 9, lambda: slow)
        saving.border(2, 9, at_once)  # waits for nobody
        slow.opened.set()
    assert [one.step for one in reporter.saved] == [1]


def test_a_pause_waits_until_it_is_whole(tmp_path: Path) -> None:
    saved, reporter = checkpoints(tmp_path, pause_at=0, save_every=100)
    slow = Written()
    with beside(saved, shares=False) as saving:
        threading.Timer(0.05, slow.opened.set).start()
        with pytest.raises(Paused, match="step 3 of 9"):
            saving.border(3, 9, lambda: slow)
        assert [one.step for one in reporter.saved] == [3]


@pytest.mark.parametrize("after", [None, Cancelled("Stopped on request.")])
def test_the_end_waits_until_it_is_whole(tmp_path: Path, after: StageError | None) -> None:
    saved, reporter = checkpoints(tmp_path)
    slow = Written()

    def run() -> None:
        with beside(saved, shares=False) as saving:
            saving.border(1, 9, lambda: slow)
            threading.Timer(0.05, slow.opened.set).start()
            if after:
                raise after

    if after:
        with pytest.raises(StageError) as caught:
            run()
        assert caught.value is after
    else:
        run()
    assert [one.step for one in reporter.saved] == [1]


@pytest.mark.parametrize("again", [True, False], ids=["at the next border", "at the end"])
def test_a_full_disk_is_told_and_the_one_before_stays(tmp_path: Path, again: bool) -> None:
    saved, reporter = checkpoints(tmp_path)

    def run() -> None:
        with beside(saved, shares=False) as saving:
            saving.border(1, 9, at_once)
            saving.border(2, 9, full)
            if again:
                saving.border(3, 9, at_once)

    with pytest.raises(DiskFull) as caught:
        run()
    assert "checkpoint-2" in caught.value.cause
    assert there(tmp_path) == ["checkpoint-1"]
    assert not reporter.notes


def test_what_ends_a_run_is_not_hidden_by_a_checkpoint_that_failed(tmp_path: Path) -> None:
    saved, reporter = checkpoints(tmp_path)

    def run() -> None:
        with beside(saved, shares=False) as saving:
            saving.border(1, 9, full)
            raise Cancelled("Stopped on request.")

    with pytest.raises(Cancelled):
        run()
    (note,) = reporter.notes
    assert note.startswith("warning: The last checkpoint was not written: No room to write")


def test_on_a_narrow_disk_the_older_one_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where three fit there are three while one is written; where they do not, the newest whole one stays."""
    seen, free = list[list[str]](), [2**40]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**40, 0, free[0]))

    class Looking(Written):
        def write(self, folder: Path, group: object) -> None:
            seen.append(there(tmp_path))
            (folder / "weights").write_text("whole")

    saved, _ = checkpoints(tmp_path)
    with beside(saved, shares=False) as saving:
        for step in (1, 2, 3):
            saving.border(step, 9, Looking)
        saving.finish()
        free[0] = 3  # bytes; a checkpoint has five and its manifest
        saving.border(4, 9, Looking)
    assert seen[2] == ["checkpoint-1", "checkpoint-2", "partial"]
    assert seen[3] == ["checkpoint-3", "partial"]
    assert there(tmp_path) == ["checkpoint-3", "checkpoint-4"]


class SecondOfTwo(Team):
    """Of a team whose first process wants nothing."""

    def anywhere(self, said: bool) -> bool:
        return said


def test_only_the_process_that_writes_looks_at_the_clock(tmp_path: Path) -> None:
    """To the others the last checkpoint is as old as the run: they would ask for one at every border."""
    saved, _ = checkpoints(tmp_path, save_every=None, save_minutes=1e-9)
    saved.team = SecondOfTwo(1, 2)
    with ThreadPoolExecutor(1) as pool:
        Beside(saved, pool, None).border(1, 9, lambda: pytest.fail("there is none to write"))


def test_only_the_trainer_that_writes_looks_at_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, _ = checkpoints(tmp_path, save_every=None, save_minutes=1e-9)
    monkeypatch.setattr(trainer, "_anywhere", lambda said: said)
    asked = []
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        control = TrainerControl()
        state = TrainerState(global_step=1, max_steps=9)
        trainer.CheckpointCallback(saved).on_log(None, state, control, {"loss": 1.0})  # type: ignore[arg-type]
        asked.append(control.should_save)
    assert asked == [False, True]
