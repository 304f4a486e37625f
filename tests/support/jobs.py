"""What jobs are made of, and jobs in every state."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.shared.events import StageProgress
from alignment.shared.records import Prompt, Ranking
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.records import Again, ArtifactFile, Failure, ModelToRegister, NewEvaluatedPolicy
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import (
    Job,
    ModelKind,
    Snapshot,
)

As = Callable[..., TestClient]


DIGITS_SHA256 = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"  # of 0123456789


Body = Callable[..., dict[str, Any]]


def ranking(i: int, *, tie: bool = False) -> Ranking:
    groups = ((0, 1),) if tie else ((0,), (1,))
    return Ranking(prompt=Prompt.from_text(f"Question {i}?"), responses=("a", "b"), groups=groups)


def counts(session: Session) -> tuple[int, int]:
    return tuple(session.scalar(select(func.count()).select_from(t)) or 0 for t in (Job, Snapshot))  # type: ignore[return-value]


def kinds_of(session: Session, inputs: dict[str, Any]) -> dict[str, str]:
    """What each snapshot among a job's inputs holds."""
    named = {name: value["snapshot"] for name, value in inputs.items() if "snapshot" in (value or {})}
    return {name: session.get_one(Snapshot, uuid.UUID(key)).kind.value for name, key in named.items()}


def running(session: Session, make: Any) -> Job:
    make.job()
    job = job_store.claim(session, "host:1", 60)
    assert job is not None
    job_store.mark_running(session, job.id, job.epoch)
    return job


def succeeded(session: Session, make: Any, home: Path | None = None) -> Job:
    """A job that reported 10 steps and left a file."""
    job = running(session, make)
    steps = [Event.progress(StageProgress("train", i, 10, 2.0, 1.0, {"loss": 1.0 / i})) for i in range(1, 11)]
    job_store.append_events(session, job.id, job.epoch, [*steps, Event.note("Nearly done.")])
    if home is not None:
        folder = home / "artifacts" / str(job.id) / str(job.epoch)
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"0123456789")
        (folder / "secret").symlink_to("/etc/passwd")
    job_store.mark_committing(session, job.id, job.epoch)
    return job_store.commit_success(
        session,
        job.id,
        job.epoch,
        result={"metrics": {"loss": 0.1}, "details": {}},
        artifacts=[ArtifactFile(name, DIGITS_SHA256, 10) for name in ("model.safetensors", "secret", "gone")],
        model=ModelToRegister("sft-1", ModelKind.SFT, "/models/sft-1", "0" * 64),
        checkpoints=[NewEvaluatedPolicy(5, {"loss": 0.2}, False), NewEvaluatedPolicy(10, {"loss": 0.1}, True)],
    )


def failed_twice(session: Session, make: Any) -> Job:
    """A job whose two attempts crashed, each with its own last words."""
    make.job()
    for words in ("first words\nfirst end", "second words\nsecond end"):
        job = job_store.claim(session, f"host:{words[0]}", 60)
        assert job is not None
        failure = Failure(ErrorKind.CRASH, f"Its process died: {words[:6]}.", log=words)
        job_store.fail(session, job.id, job.epoch, failure, Again.CRASH)
        job.not_before = None
        session.flush()
    return job
