"""Cancel, pause, resume, retry: each may be repeated."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import (
    Role,
)
from tests.support.jobs import As, running, succeeded


@pytest.mark.parametrize("verb", ["retry", "resume"])
def test_a_waiting_job_is_cancelled_at_once_with_those_behind_it(as_: As, make: Any, verb: str) -> None:
    first = make.job()
    behind = make.job(Stage.REWARD, needs=[first.id])
    client = as_(Role.ENGINEER)
    for _ in range(2):
        answer = client.post(f"/v1/jobs/{first.id}:cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert client.get(f"/v1/jobs/{behind.id}").json()["state"] == "cancelled"
    retried = client.post(f"/v1/jobs/{first.id}:{verb}")
    assert (retried.status_code, retried.json()["state"]) == (202, "queued")
    assert client.post(f"/v1/jobs/{first.id}:{verb}").json()["state"] == "queued"
    assert client.get(f"/v1/jobs/{behind.id}").json()["state"] == "blocked"


def test_a_running_job_is_asked_to_stop(as_: As, make: Any, session: Session) -> None:
    job = running(session, make)
    client = as_(Role.ENGINEER)
    for _ in range(2):
        answer = client.post(f"/v1/jobs/{job.id}:cancel")
        assert answer.status_code == 202
        assert (answer.json()["state"], answer.json()["cancel_requested"]) == ("running", True)


def test_a_waiting_job_is_paused_at_once_and_goes_on(as_: As, make: Any) -> None:
    first = make.job()
    behind = make.job(Stage.REWARD, needs=[first.id])
    client = as_(Role.ENGINEER)
    for job in (first, behind):
        for _ in range(2):
            answer = client.post(f"/v1/jobs/{job.id}:pause")
            assert (answer.status_code, answer.json()["state"]) == (200, "paused")
    for job, state in ((first, "queued"), (behind, "blocked")):
        for _ in range(2):
            answer = client.post(f"/v1/jobs/{job.id}:resume")
            assert (answer.status_code, answer.json()["state"]) == (202, state)


def test_a_running_job_is_asked_to_pause_and_may_change_its_mind(as_: As, make: Any, session: Session) -> None:
    job, client = running(session, make), as_(Role.ENGINEER)
    for _ in range(2):
        answer = client.post(f"/v1/jobs/{job.id}:pause")
        assert (answer.status_code, answer.json()["state"], answer.json()["pause_requested"]) == (202, "running", True)
    for _ in range(2):
        answer = client.post(f"/v1/jobs/{job.id}:resume")
        assert (answer.status_code, answer.json()["state"], answer.json()["pause_requested"]) == (200, "running", False)
    client.post(f"/v1/jobs/{job.id}:pause")
    job_store.mark_paused(session, job.id, job.epoch)
    assert client.post(f"/v1/jobs/{job.id}:pause").status_code == 200
    assert client.post(f"/v1/jobs/{job.id}:retry").json()["state"] == "paused"  # resume is the word
    assert client.post(f"/v1/jobs/{job.id}:cancel").json()["state"] == "cancelled"


def test_a_pause_that_comes_too_late_says_why(as_: As, make: Any, session: Session) -> None:
    client = as_(Role.ENGINEER)
    ending, stopping, done = running(session, make), running(session, make), succeeded(session, make)
    job_store.mark_committing(session, ending.id, ending.epoch)
    client.post(f"/v1/jobs/{stopping.id}:cancel")
    for job, words in ((ending, "writing its result"), (stopping, "being cancelled"), (done, "has succeeded already")):
        answer = client.post(f"/v1/jobs/{job.id}:pause")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:rankloop:not-paused")
        assert words in answer.json()["detail"]


@pytest.mark.parametrize(("verb", "slug"), [("retry", "not-retried"), ("resume", "not-resumed")])
def test_what_succeeded_is_not_run_again(as_: As, make: Any, session: Session, verb: str, slug: str) -> None:
    job = succeeded(session, make)
    answer = as_(Role.ENGINEER).post(f"/v1/jobs/{job.id}:{verb}")
    assert (answer.status_code, answer.json()["type"]) == (409, f"urn:rankloop:{slug}")


def test_a_job_whose_need_failed_is_not_tried_alone(as_: As, make: Any, session: Session) -> None:
    first = running(session, make)
    behind = make.job(Stage.REWARD, needs=[first.id])
    job_store.fail(session, first.id, first.epoch, Failure(ErrorKind.DIVERGED, "NaN."), Again.NEVER)
    answer = as_(Role.ENGINEER).post(f"/v1/jobs/{behind.id}:retry")
    assert (answer.status_code, "retry that one first" in answer.json()["detail"]) == (409, True)
