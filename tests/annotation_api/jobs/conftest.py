"""What jobs are made of, and jobs in every state."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.events import ErrorKind, Progress
from alignment.records import Demonstration, Prompt, Ranking
from annotation_api.db import job_store
from annotation_api.db.forms import Question, QuestionsForm, RankingForm, Rule, RulesForm
from annotation_api.db.job_events import Event
from annotation_api.db.job_records import Again, ArtifactFile, Failure, NewCheckpoint, NewModel
from annotation_api.db.tables import (
    Alias,
    DatasetKind,
    FeedbackKind,
    Job,
    ModelKind,
    Role,
    Snapshot,
    Submission,
)

As = Callable[..., TestClient]


QUESTIONS = QuestionsForm(questions=(Question(id="true", text="Is it true?", kind="yes_no"),))


DIGITS_SHA256 = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"  # of 0123456789


Body = Callable[..., dict[str, Any]]


def ranking(i: int, *, tie: bool = False) -> Ranking:
    groups = ((0, 1),) if tie else ((0,), (1,))
    return Ranking(prompt=Prompt.from_text(f"Question {i}?"), responses=("a", "b"), groups=groups)


@pytest.fixture
def things(make: Any, session: Session, tmp_path: Path) -> dict[str, Any]:
    """One of each input that a job can have."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    demonstrations = [Demonstration(prompt=Prompt.from_text(f"Q{i}?"), response="a") for i in range(40)]
    base = make.model(path=str(folder))
    session.add(Alias(name="champion", model_id=base.id))
    return {
        "base": base.id,
        "reward": make.model(ModelKind.REWARD, path=str(folder)).id,
        "gone": make.model(path=str(folder / "gone")).id,
        "demonstrations": make.dataset(DatasetKind.DEMONSTRATIONS, demonstrations).id,
        "rankings": make.dataset(DatasetKind.RANKINGS, [ranking(i) for i in range(30)]).id,
        "few": make.dataset(DatasetKind.PREFERENCES, [ranking(i) for i in range(3)]).id,
        "ties": make.dataset(DatasetKind.RANKINGS, [ranking(i, tie=True) for i in range(30)]).id,
        "prompts": make.dataset(DatasetKind.PROMPTS, [Prompt.from_text(f"P{i}?") for i in range(10)]).id,
        "project": make.project().id,
        "asks nothing": make.project(forms=[]).id,
        "nothing": uuid.uuid4(),
    }


@pytest.fixture
def body(things: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """`body("reward", rankings={"dataset": "few"})`: a good job with parts replaced; words name things."""

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [named(inner) for inner in value]
        return str(things[value]) if value in things else value

    good: dict[str, Any] = {
        "sft": {"model": {"model": "base"}, "demonstrations": {"dataset": "demonstrations"}},
        "sample": {"models": [{"model": "base"}], "prompts": {"dataset": "prompts"}},
        "reward": {"model": {"model": "base"}, "rankings": {"dataset": "rankings"}},
        "ppo": {"model": {"model": "base"}, "reward_model": {"model": "reward"}, "prompts": {"dataset": "prompts"}},
    }

    def make(stage: str, config: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
        merged = {key: named(value) for key, value in (good[stage] | inputs).items()}
        return {"stage": stage, "inputs": merged, "config": config or {}}

    return make


def counts(session: Session) -> tuple[int, int]:
    return tuple(session.scalar(select(func.count()).select_from(t)) or 0 for t in (Job, Snapshot))  # type: ignore[return-value]


@pytest.fixture
def talkative(make: Any) -> Any:
    """A project with 30 rankings, an answer and a verdict."""
    forms = [RankingForm(), QUESTIONS, RulesForm(rules=(Rule(id="threats", text="No threats."),))]
    project = make.project(forms=forms)
    for number in range(30):
        make.submission(make.task(make.prompt(project, f"Question {number}?")), [[0], [1]])
    said = {FeedbackKind.QUESTIONS: {"answers": {"true": True}}, FeedbackKind.RULES: {"verdicts": {"threats": "kept"}}}
    for kind, payload in said.items():
        task = make.task(make.prompt(project, f"{kind}?"), ("only",), kind=kind)
        shown = make.assignment(task, make.person(Role.ANNOTATOR))
        row = Submission(id=uuid.uuid4(), assignment_id=shown.id, kind=kind, payload=payload, payload_hash="0" * 64)
        make.session.add(row)
    make.session.flush()
    return project


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
    steps = [Event.progress(Progress("train", i, 10, 2.0, 1.0, {"loss": 1.0 / i})) for i in range(1, 11)]
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
        model=NewModel("sft-1", ModelKind.SFT, "/models/sft-1", "0" * 64),
        checkpoints=[NewCheckpoint(5, {"loss": 0.2}, False), NewCheckpoint(10, {"loss": 0.1}, True)],
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
