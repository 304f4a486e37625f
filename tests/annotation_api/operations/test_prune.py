"""Retention: what nothing needs goes, rows and files together; everything else stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text, update
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from annotation_api.cli import main
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import ArtifactFile, ModelToRegister
from annotation_api.db.tables import (
    Alias,
    Artifact,
    IdempotencyKey,
    Invitation,
    Job,
    LoginSession,
    ModelKind,
    ModelVersion,
    Person,
    ResponseRow,
    Role,
    Task,
    TaskResponse,
)
from annotation_api.http.auth import hash_token, start_session
from annotation_api.operations.local import files_kept
from tests.support.factory import Factory

AGO = "interval '40 days'"


class Shelf:
    """A home with artifacts whose rows are in the database, all 40 days old."""

    def __init__(self, session: Session, make: Factory, home: Path) -> None:
        self.session, self.make, self.home = session, make, home
        self.someone: Person = make.person()

    def model(self, *parents: ModelVersion, stage: Stage = Stage.SFT) -> ModelVersion:
        """A finished job's model, 10 bytes of weights."""
        job = self.finished(
            stage, ModelToRegister("m", ModelKind.SFT, "", None, parents=[(p.id, "start") for p in parents])
        )
        return self.session.scalars(select(ModelVersion).where(ModelVersion.job_id == job.id)).one()

    def finished(self, stage: Stage, model: ModelToRegister | None = None) -> Job:
        job = self.make.job(stage, created_by=self.someone.id)
        job_store.claim(self.session, "a:1", 30)
        job_store.mark_running(self.session, job.id, 1)
        job_store.mark_committing(self.session, job.id, 1)
        folder = self.folder(job.id)
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"0123456789")
        files = [ArtifactFile("model.safetensors", "0" * 64, 10)]
        job_store.commit_success(self.session, job.id, 1, result={}, artifacts=files, model=model)
        self.session.execute(update(Job).where(Job.id == job.id).values(finished_at=text(f"now() - {AGO}")))
        return job

    def open_task(self, **made_by: uuid.UUID) -> Task:
        """A task that shows one response, and waits for a judgement."""
        prompt = self.make.prompt(self.make.project(self.someone))
        task = self.make.task(prompt, ())
        response = ResponseRow(prompt_id=prompt.id, text="x", text_hash="0" * 64, **made_by)
        self.session.add(response)
        self.session.flush()
        self.session.add(TaskResponse(task_id=task.id, position=0, response_id=response.id))
        return task

    def folder(self, job_id: uuid.UUID | None) -> Path:
        return self.home / "artifacts" / str(job_id) / "1"


@pytest.fixture
def shelf(fresh_engine: Engine, factory, tmp_path: Path) -> Shelf:
    session = Session(fresh_engine, expire_on_commit=False)
    return Shelf(session, factory(session), tmp_path)


@pytest.fixture
def prune(
    fresh_database: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys
) -> Callable[..., tuple[set[str], dict]]:
    """`prune("--days", "30")`: the jobs whose artifacts went or would go, and the whole report."""

    def run(*arguments: str) -> tuple[set[str], dict]:
        shelf.session.commit()
        monkeypatch.setenv("RANKLOOP_DATABASE_URL", fresh_database)
        monkeypatch.setenv("RANKLOOP_HOME", str(shelf.home))
        assert main(["prune", "--json", *arguments]) == 0
        report = json.loads(capsys.readouterr().out)
        return {artifact["job"] for artifact in report["artifacts"]}, report

    return run


def jobs_of(*models: ModelVersion) -> set[str]:
    return {str(model.job_id) for model in models}


def test_an_unused_chain_goes_and_its_rows_say_so(shelf: Shelf, prune) -> None:
    base = shelf.make.model(path="/models/base")
    sft = shelf.model(base)
    policy = shelf.model(sft, stage=Stage.PPO)
    chosen, report = prune("--days", "30", "--dry-run")
    assert chosen == jobs_of(sft, policy)
    assert (report["bytes"], report["removed"]) == (20, False)
    assert shelf.folder(sft.job_id).exists()
    assert prune("--days", "30")[0] == chosen
    assert not (shelf.home / "artifacts" / str(sft.job_id)).exists()
    for model in (sft, policy, base):
        shelf.session.refresh(model)
    assert [bool(model.removed_at) for model in (sft, policy, base)] == [True, True, False]
    assert all(row.removed_at for row in shelf.session.scalars(select(Artifact)))
    assert prune("--days", "30")[0] == set()


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_what_is_done_is_done_though_nobody_reads_of_it(
    shelf: Shelf, fresh_database: str, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    model = shelf.model()
    shelf.session.commit()
    monkeypatch.setenv("RANKLOOP_DATABASE_URL", fresh_database)
    monkeypatch.setenv("RANKLOOP_HOME", str(shelf.home))
    assert unread("prune", "--days", "30", *flags) == (0, "")
    assert not shelf.folder(model.job_id).exists()


def unread(*words: str) -> tuple[int, str]:
    """How a command ends whose standard output nobody reads, and what it says on the other."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "annotation_api.cli", *words]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    return done.returncode, done.stderr


def test_what_something_needs_stays_with_its_ancestors(shelf: Shelf, prune) -> None:
    parent = shelf.model()
    with_alias = shelf.model(parent)
    shelf.session.add(Alias(name="champion", model_id=with_alias.id))
    shown = shelf.model()
    task = shelf.open_task(model_id=shown.id)
    needed = shelf.model()
    inputs = {"model": {"model": str(needed.id)}}
    waits = shelf.make.job(Stage.SFT, inputs=inputs, created_by=shelf.someone.id, priority=-1)
    parent_of_young, sampled = shelf.model(), shelf.finished(Stage.SAMPLE)
    young = shelf.model(parent_of_young)
    shelf.session.execute(update(Job).where(Job.id == young.job_id).values(finished_at=text("now()")))
    unused = shelf.model()
    assert prune("--days", "30", "--dry-run")[0] == jobs_of(unused) | {str(sampled.id)}

    shelf.session.delete(shelf.session.get_one(Alias, "champion"))
    task.judged = task.overlap
    job_requests.request_cancel(shelf.session, waits.id)
    freed = jobs_of(parent, with_alias, shown, needed, unused) | {str(sampled.id)}
    assert prune("--days", "30", "--dry-run")[0] == freed


def test_a_sampling_job_whose_tasks_are_open_stays(shelf: Shelf, prune) -> None:
    sampled = shelf.finished(Stage.SAMPLE)
    shelf.open_task(job_id=sampled.id)
    assert prune("--days", "30")[0] == set()
    assert shelf.folder(sampled.id).exists()


def test_without_a_limit_no_artifact_goes(shelf: Shelf, prune, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shelf.model()
    assert prune() == (set(), {**prune()[1], "days": None})
    assert prune("--days", "41")[0] == set()
    monkeypatch.setenv("RANKLOOP_ARTIFACT_DAYS", "39")
    assert prune()[0] == jobs_of(model)


def test_files_that_a_killed_prune_left_go_with_the_next(shelf: Shelf, prune) -> None:
    model = shelf.model()
    prune("--days", "30")
    shelf.folder(model.job_id).mkdir(parents=True)
    (shelf.folder(model.job_id) / "model.safetensors").write_bytes(b"left")
    prune()
    assert not shelf.folder(model.job_id).exists()


def test_what_has_expired_goes(shelf: Shelf, prune) -> None:
    session = shelf.session
    for key, age in (("old", "8 days"), ("new", "6 days")):
        values = {"request_hash": "0" * 64, "status": 201, "headers": {}, "body": {}}
        session.add(
            IdempotencyKey(person_id=shelf.someone.id, key=key, created_at=text(f"now() - interval '{age}'"), **values)
        )
    for name, end, used in (("used", "-1 day", shelf.someone.id), ("late", "-1 day", None), ("open", "1 day", None)):
        expires = text(f"now() + interval '{end}'")
        session.add(Invitation(token_hash=hash_token(name), role=Role.ADMIN, expires_at=expires, used_by=used))
    for _ in range(2):
        token = start_session(session, shelf.someone)
    old = update(LoginSession).where(LoginSession.token_hash == hash_token(token))
    session.execute(old.values(expires_at=text("now() - interval '1 minute'")))
    expected = {"idempotency keys": 1, "invitations": 1, "sign-ins": 1}
    assert prune("--dry-run")[1]["expired"] == expected
    assert prune()[1]["expired"] == expected
    assert session.scalars(select(IdempotencyKey.key)).all() == ["new"]
    left = set(session.scalars(select(Invitation.token_hash)))
    assert left == {hash_token("used"), hash_token("open")}
    assert len(session.scalars(select(LoginSession.token_hash)).all()) == 1


def test_nothing_is_removed_while_a_backup_reads(
    shelf: Shelf, fresh_engine: Engine, fresh_database: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    model = shelf.model()
    shelf.session.commit()
    monkeypatch.setenv("RANKLOOP_DATABASE_URL", fresh_database)
    monkeypatch.setenv("RANKLOOP_HOME", str(shelf.home))
    with files_kept(fresh_engine):
        assert main(["prune", "--days", "0"]) == 1
        assert "A backup is being made" in capsys.readouterr().err
    assert shelf.folder(model.job_id).exists()
    assert main(["prune", "--days", "0"]) == 0
    assert "Removed: 1 artifacts of 10 bytes" in capsys.readouterr().out


def test_a_removed_model_gets_no_alias_and_is_shown_as_removed(as_, session: Session, make: Factory) -> None:
    model = make.model(removed_at=text("now()"))
    client = as_(Role.ENGINEER)
    assert client.get(f"/v1/models/{model.id}").json()["removed_at"]
    answer = client.put("/v1/aliases/champion", json={"model": str(model.id)})
    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (
        422,
        "Its files were removed; train it again.",
    )
