"""What a job tells, measures, saves and leaves."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func
from sqlalchemy.orm import Session

from alignment.shared.events import SavedCheckpoint
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import NewEvaluatedPolicy
from annotation_api.db.tables import (
    Artifact,
    CheckpointRow,
    Role,
)
from tests.support.jobs import DIGITS_SHA256, As, failed_twice, running, succeeded


def test_metrics_are_series_thinned_on_request(as_: As, make: Any, session: Session) -> None:
    job, client = succeeded(session, make), as_(Role.REVIEWER)
    (series,) = client.get(f"/v1/jobs/{job.id}/metrics").json()
    assert (series["phase"], series["name"]) == ("train", "loss")
    assert series["points"] == [[i, 1.0 / i] for i in range(1, 11)]

    def steps(**query: Any) -> list[int]:
        found = client.get(f"/v1/jobs/{job.id}/metrics", params=query).json()
        return [step for step, _ in found[0]["points"]] if found else []

    assert steps(points=4) == [1, 4, 7, 10]
    assert steps(points=1) == [10]
    assert steps(after_step=8) == [9, 10]
    assert steps(name="kl") == steps(phase="rollout") == []


def test_checkpoints_tell_what_was_saved_and_which_candidate_was_kept(as_: As, make: Any, session: Session) -> None:
    job = running(session, make)
    for step in (2, 4):
        saved = SavedCheckpoint(f"1/checkpoint-{step}", step, f"{step}" * 64, 1000 * step, 0.5)
        job_store.record_checkpoint(session, job.id, job.epoch, saved)
    session.get_one(CheckpointRow, (job.id, "1/checkpoint-2")).removed_at = func.now()
    job_store.mark_committing(session, job.id, job.epoch)
    kept = [NewEvaluatedPolicy(5, {"loss": 0.2}, False), NewEvaluatedPolicy(10, {"loss": 0.1}, True)]
    job_store.commit_success(session, job.id, job.epoch, result={}, artifacts=[], checkpoints=kept)
    rows = as_(Role.REVIEWER).get(f"/v1/jobs/{job.id}/checkpoints").json()
    saved_ones, candidates = rows[:2], rows[2:]
    assert [(row["kind"], row["step"], row["name"], row["size"], row["sha256"]) for row in saved_ones] == [
        ("saved", 2, "1/checkpoint-2", 2000, "2" * 64),
        ("saved", 4, "1/checkpoint-4", 4000, "4" * 64),
    ]
    assert [row["removed_at"] is None for row in saved_ones] == [False, True]
    assert [(row["kind"], row["step"], row["metrics"], row["chosen"]) for row in candidates] == [
        ("candidate", 5, {"loss": 0.2}, False),
        ("candidate", 10, {"loss": 0.1}, True),
    ]


def test_a_waiting_job_says_for_what_and_since_when(as_: As, make: Any, session: Session) -> None:
    make.job()
    job = job_store.claim(session, "host:1", 60)
    assert job is not None
    job_store.set_starting_reason(session, job.id, job.epoch, "waiting_gpu", "1 of 1 GPUs is taken")
    row = as_(Role.REVIEWER).get(f"/v1/jobs/{job.id}").json()
    assert (row["reason"], row["reason_detail"]) == ("waiting_gpu", "1 of 1 GPUs is taken")
    assert datetime.fromisoformat(row["reason_since"]) == job.reason_since
    assert (row["epoch"], row["attempts"], row["interruptions"], row["saved_step"]) == (1, 1, 0, None)


def test_every_attempt_is_remembered(as_: As, make: Any, session: Session) -> None:
    job = failed_twice(session, make)
    rows = as_(Role.REVIEWER).get(f"/v1/jobs/{job.id}/attempts").json()
    assert [(row["epoch"], row["worker"], row["outcome"]) for row in rows] == [
        (2, "host:s", "queued"), (1, "host:f", "queued"),
    ]  # fmt: skip
    assert rows[1]["error"]["cause"] == "Its process died: first ."
    assert all(row["claimed_at"] and row["ended_at"] for row in rows)
    newest = as_(Role.REVIEWER).get(f"/v1/jobs/{job.id}/attempts", params={"limit": 1}).json()
    assert [row["epoch"] for row in newest] == [2]


def test_the_log_is_read_from_its_file_else_from_the_attempt(
    as_: As, app: FastAPI, make: Any, session: Session
) -> None:
    job, client = failed_twice(session, make), as_(Role.REVIEWER)
    place = f"/v1/jobs/{job.id}/log"
    assert client.get(place).json() == {"epoch": 2, "lines": ["second words", "second end"]}
    assert client.get(place, params={"epoch": 1, "lines": 1}).json() == {"epoch": 1, "lines": ["first end"]}
    assert client.get(place, params={"epoch": 3}).status_code == 404
    logs = app.state.settings.home / "logs"
    logs.mkdir(exist_ok=True)
    long = "".join(f"line {number} é\n" for number in range(40_000))  # more than is looked at
    (logs / f"{job.id}-2.log").write_bytes(long.encode() + b"half a \xff line")
    lines = client.get(place, params={"lines": 1000}).json()["lines"]
    assert (len(lines), lines[-2:]) == (1000, ["line 39999 é", "half a \ufffd line"])
    assert lines[0] == "line 39001 é"


def test_a_job_that_nobody_tried_has_no_log(as_: As, make: Any) -> None:
    assert as_(Role.REVIEWER).get(f"/v1/jobs/{make.job().id}/log").json() == {"epoch": None, "lines": []}


def test_a_file_is_tagged_with_its_hash(as_: As, app: FastAPI, make: Any, session: Session) -> None:
    job = succeeded(session, make, app.state.settings.home)
    client, place = as_(Role.REVIEWER), f"/v1/jobs/{job.id}/artifacts/model.safetensors"
    whole = client.get(place)
    assert whole.headers["etag"] == '"' + DIGITS_SHA256 + '"'
    assert whole.headers["repr-digest"] == "sha-256=:" + base64.b64encode(bytes.fromhex(DIGITS_SHA256)).decode() + ":"
    known = client.get(place, headers={"If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert client.get(place, headers={"If-None-Match": '"other"'}).status_code == 200
    rest = client.get(place, headers={"Range": "bytes=8-", "If-Range": whole.headers["etag"]})
    assert (rest.status_code, rest.content, rest.headers["etag"]) == (206, b"89", whole.headers["etag"])
    other = client.get(place, headers={"Range": "bytes=8-", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, b"0123456789")


def test_a_file_that_was_removed_says_when(as_: As, app: FastAPI, make: Any, session: Session) -> None:
    job = succeeded(session, make, app.state.settings.home)
    session.get_one(Artifact, (job.id, "model.safetensors")).removed_at = datetime(2026, 1, 2, tzinfo=UTC)
    answer = as_(Role.REVIEWER).get(f"/v1/jobs/{job.id}/artifacts/model.safetensors")
    assert (answer.status_code, "was removed on 2026-01-02" in answer.json()["detail"]) == (410, True)


def test_a_file_of_another_size_is_not_served(as_: As, app: FastAPI, make: Any, session: Session) -> None:
    job = succeeded(session, make, app.state.settings.home)
    file = app.state.settings.home / "artifacts" / str(job.id) / str(job.epoch) / "model.safetensors"
    file.write_bytes(b"012345678")
    answer = as_(Role.REVIEWER).get(f"/v1/jobs/{job.id}/artifacts/model.safetensors")
    assert (answer.status_code, answer.json()["type"]) == (410, "urn:rankloop:artifact-damaged")
    assert "has 9 bytes; 10 were committed" in answer.json()["detail"]


def test_artifacts_are_listed_and_served_in_ranges(as_: As, app: FastAPI, make: Any, session: Session) -> None:
    job = succeeded(session, make, app.state.settings.home)
    client, place = as_(Role.REVIEWER), f"/v1/jobs/{job.id}/artifacts"
    assert [row["name"] for row in client.get(place).json()] == ["gone", "model.safetensors", "secret"]
    assert client.get(f"{place}/model.safetensors").content == b"0123456789"
    part = client.get(f"{place}/model.safetensors", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")


@pytest.mark.parametrize(
    ("name", "status"),
    [("secret", 410), ("gone", 410), ("config.json", 404), ("../../etc/passwd", 404), ("%2e%2e%2fmodel", 404)],
)
def test_nothing_but_committed_files_is_served(
    as_: As, app: FastAPI, make: Any, session: Session, name: str, status: int
) -> None:
    job = succeeded(session, make, app.state.settings.home)
    assert as_(Role.REVIEWER).get(f"/v1/jobs/{job.id}/artifacts/{name}").status_code == status
