"""Which checkpoints are kept: by the state of their job, its age, and what the live attempt has saved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from alignment.shared.events import SavedCheckpoint
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import CheckpointRow, Job
from workers.dispatch.retention import sweep_checkpoints

FAULT = Failure(ErrorKind.DIVERGED, "It diverged.")


def claimed(make: Any, session: Session) -> Job:
    job = make.job()
    found = job_store.claim(session, "here:1", 30)
    assert found is not None
    assert found.id == job.id
    return found


def saved(session: Session, home: Path, job: Job, step: int, *, told: bool = True) -> Path:
    """A whole checkpoint of the job's attempt, and with `told` its row."""
    name = f"{job.epoch}/run/checkpoint-{step}"
    folder = home / "checkpoints" / str(job.id) / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    if told:
        job_store.record_checkpoint(session, job.id, job.epoch, SavedCheckpoint(name, step, "0" * 64, 2, 0.1))
    return folder


def again(session: Session, job: Job) -> Job:
    """The next attempt at a job whose present one crashed."""
    job_store.fail(session, job.id, job.epoch, FAULT, Again.CRASH)
    session.execute(update(Job).where(Job.id == job.id).values(not_before=None))
    found = job_store.claim(session, "here:1", 30)
    assert found is not None
    assert found.id == job.id
    return found


def removed(session: Session, job: Job) -> list[int]:
    """The steps whose rows say that the folder is gone."""
    rows = select(CheckpointRow.step).where(CheckpointRow.job_id == job.id, CheckpointRow.removed_at.is_not(None))
    return sorted(session.scalars(rows))


def succeed(session: Session, job: Job) -> None:
    job_store.mark_running(session, job.id, job.epoch)
    job_store.mark_committing(session, job.id, job.epoch)
    job_store.commit_success(session, job.id, job.epoch, result={}, artifacts=())


def test_a_job_that_succeeded_keeps_none(make: Any, session: Session, tmp_path: Path) -> None:
    job = claimed(make, session)
    saved(session, tmp_path, job, 5)
    succeed(session, job)
    assert sweep_checkpoints(session, tmp_path, days=14) == 1
    assert not (tmp_path / "checkpoints" / str(job.id)).exists()
    assert removed(session, job) == [5]


def test_a_sweep_that_was_cut_short_is_made_good_by_the_next(make: Any, session: Session, tmp_path: Path) -> None:
    """The folder went, and the process with it before it could say so."""
    job = claimed(make, session)
    saved(session, tmp_path, job, 5)
    succeed(session, job)
    shutil.rmtree(tmp_path / "checkpoints" / str(job.id))
    sweep_checkpoints(session, tmp_path, days=14)
    assert removed(session, job) == [5]


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_job_that_may_be_retried_keeps_them_for_some_days(
    make: Any, session: Session, tmp_path: Path, state: str
) -> None:
    job = claimed(make, session)
    folder = saved(session, tmp_path, job, 5)
    if state == "failed":
        job_store.fail(session, job.id, job.epoch, FAULT, Again.NEVER)
    else:
        job_store.mark_cancelled(session, job.id, job.epoch)
    session.execute(update(Job).values(finished_at=func.clock_timestamp() - text("interval '13 days'")))
    assert sweep_checkpoints(session, tmp_path, days=14) == 0
    assert folder.exists()

    session.execute(update(Job).values(finished_at=func.clock_timestamp() - text("interval '15 days'")))
    assert sweep_checkpoints(session, tmp_path, days=14) == 1
    assert not folder.exists()
    assert removed(session, job) == [5]


def test_paused_and_queued_jobs_keep_them_whatever_the_days(make: Any, session: Session, tmp_path: Path) -> None:
    paused = claimed(make, session)
    folders = [saved(session, tmp_path, paused, 5)]
    job_requests.request_pause(session, paused.id)
    job_store.mark_paused(session, paused.id, paused.epoch)
    queued = claimed(make, session)
    folders.append(saved(session, tmp_path, queued, 5, told=False))  # Postgres was away when it saved
    job_store.fail(session, queued.id, queued.epoch, FAULT, Again.CRASH)
    assert sweep_checkpoints(session, tmp_path, days=0) == 0
    assert all(folder.exists() for folder in folders)


def test_a_live_attempt_outgrows_those_before_it(make: Any, session: Session, tmp_path: Path) -> None:
    """Its first own checkpoint may turn out damaged; with two it needs no others."""
    job = claimed(make, session)
    first = saved(session, tmp_path, job, 5)
    job = again(session, job)
    second = saved(session, tmp_path, job, 10)
    assert sweep_checkpoints(session, tmp_path, days=0) == 0
    third = saved(session, tmp_path, job, 15)
    assert sweep_checkpoints(session, tmp_path, days=0) == 1
    assert [folder.exists() for folder in (first, second, third)] == [False, True, True]
    assert removed(session, job) == [5]


def test_an_attempt_that_has_saved_nothing_may_read_all(make: Any, session: Session, tmp_path: Path) -> None:
    job = claimed(make, session)
    folders = [saved(session, tmp_path, job, step) for step in (5, 10)]
    job = again(session, job)
    job = again(session, job)
    assert sweep_checkpoints(session, tmp_path, days=0) == 0
    assert all(folder.exists() for folder in folders)


def test_a_checkpoint_that_its_stage_removed_is_marked(make: Any, session: Session, tmp_path: Path) -> None:
    job = claimed(make, session)
    folders = [saved(session, tmp_path, job, step) for step in (5, 10, 15)]
    (folders[0] / "manifest.json").unlink()
    folders[0].rmdir()
    sweep_checkpoints(session, tmp_path, days=14)
    assert removed(session, job) == [5]


def test_folders_of_jobs_that_this_database_does_not_know_are_left_alone(session: Session, tmp_path: Path) -> None:
    for name in ("0d9b1f4e-1111-4222-8333-444455556666", "notes"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert sweep_checkpoints(session, tmp_path, days=0) == 0
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
