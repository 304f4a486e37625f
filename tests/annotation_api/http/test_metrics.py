"""/metrics: every number made once by hand, read back with Prometheus' own parser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, func, select, text, update
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from annotation_api.app import create_app
from annotation_api.db import dispatchers
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.machine import WAITING_GPU
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Job, RayState, Role
from annotation_api.http.monitoring import scrape
from annotation_api.settings import Settings

TOKEN = "a-token-for-the-scraper"


@pytest.fixture
def samples(app: FastAPI, as_) -> Callable[[], dict[tuple[str, ...], float]]:
    """What a scrape gives now: a value for each name with its labels' values, by the names of the labels."""

    def read() -> dict[tuple[str, ...], float]:
        app.state.latest = scrape.Latest()
        answer = as_(Role.REVIEWER).get("/metrics")
        assert answer.status_code == 200, answer.text
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    return read


def test_jobs_and_attempts(samples, session: Session, make) -> None:
    """Four attempts at three jobs: one lost and rescued, one crashed, one that waits for a GPU."""
    rescued = make.job(Stage.SFT, gpus=0.0)
    job_store.claim(session, "a:1", 30)
    session.execute(update(Job).where(Job.id == rescued.id).values(lease_until=text("now() - interval '1 minute'")))
    job_store.requeue_expired(session)
    session.execute(update(Job).values(not_before=None))
    job_store.claim(session, "a:1", 30)
    job_store.mark_running(session, rescued.id, 2)
    crashed = make.job(Stage.REWARD)
    job_store.claim(session, "a:1", 30)
    job_store.fail(session, crashed.id, 1, Failure(ErrorKind.DIVERGED, "It is NaN."), Again.NEVER)
    waits = make.job(Stage.PPO)
    job_store.claim(session, "a:1", 30)
    job_store.set_starting_reason(session, waits.id, 1, WAITING_GPU)
    session.execute(update(Job).where(Job.id == waits.id).values(reason_since=text("now() - interval '90 seconds'")))
    queued = make.job(Stage.PPO)
    old = text("clock_timestamp() - interval '1 hour'")
    session.execute(update(Job).where(Job.id == queued.id).values(created_at=old))
    found = samples()
    assert found["rankloop_jobs", "sft", "running"] == 1
    assert found["rankloop_jobs", "reward", "failed"] == 1
    assert found["rankloop_jobs", "ppo", "starting"] == 1
    assert found["rankloop_jobs", "ppo", "queued"] == 1
    assert found["rankloop_queue_oldest_seconds", "ppo"] == pytest.approx(3600, abs=30)
    assert ("rankloop_queue_oldest_seconds", "sft") not in found
    assert found["rankloop_claims_total",] == 4
    assert found["rankloop_leases_lost_total",] == 1
    assert found["rankloop_rescues_total",] == 1
    assert found["rankloop_attempts_total", "crash", "lost"] == 1
    assert found["rankloop_attempts_total", "diverged", "failed"] == 1
    assert found["rankloop_jobs_waiting_gpu",] == 1
    assert found["rankloop_gpu_wait_longest_seconds",] == pytest.approx(90, abs=30)


def test_commit_seconds_are_those_of_the_last_hour(samples, session: Session, make) -> None:
    for seconds in (2, 6):
        job = make.job()
        job_store.claim(session, "a:1", 30)
        job_store.mark_running(session, job.id, 1)
        job_store.mark_committing(session, job.id, 1)
        job_store.commit_success(session, job.id, 1, result={}, artifacts=[])
        later = select(func.now() + text(f"interval '{seconds} seconds'")).scalar_subquery()
        session.execute(update(Job).where(Job.id == job.id).values(finished_at=later))
    found = samples()
    assert found["rankloop_commit_seconds", "mean"] == pytest.approx(4)
    assert found["rankloop_commit_seconds", "max"] == pytest.approx(6)
    session.execute(update(Job).values(finished_at=text("now() - interval '2 hours'")))
    assert samples()["rankloop_commit_seconds", "max"] == 0


def test_the_desk_and_the_dispatchers(samples, session: Session, make) -> None:
    prompt = make.prompt(make.project())
    make.task(prompt)
    judged = make.task(prompt, judged=1)
    before = samples()["rankloop_submissions_total",]
    make.submission(judged, [[0], [1]])
    dispatchers.report(session, "a:1", slots=4, busy=1, ray=RayState.UP)
    dispatchers.report(session, "b:1", slots=2, busy=2, ray=RayState.UP)
    found = samples()
    assert found["rankloop_tasks_open",] == 1
    assert found["rankloop_submissions_total",] > before
    assert found["rankloop_dispatchers", "up"] == 2
    assert (found["rankloop_slots", "up"], found["rankloop_slots_busy", "up"]) == (6, 3)
    assert found["rankloop_database_up",] == 1
    assert found["rankloop_event_streams",] == 0
    assert found["rankloop_pool_connections_kept",] > 0


def test_requests_are_counted_by_method_route_and_class_of_status(samples, client: TestClient) -> None:
    def count(*labels: str) -> float:
        return samples().get(("rankloop_http_request_seconds_count", *labels), 0)

    before = [count("GET", "/healthz", "2xx"), count("OTHER", "unknown", "4xx"), count("GET", "/join/{token}", "4xx")]
    client.get("/healthz")
    client.request("BREW", "/v1/coffee/1")
    client.get("/join/nobody-invited-this")
    after = [count("GET", "/healthz", "2xx"), count("OTHER", "unknown", "4xx"), count("GET", "/join/{token}", "4xx")]
    assert [new - old for old, new in zip(before, after, strict=True)] == [1, 1, 1]


def test_the_database_is_asked_at_most_once_a_second(app: FastAPI, as_, session: Session) -> None:
    client, asked = as_(Role.ADMIN), []
    app.state.latest = scrape.Latest()
    listener = lambda *call: asked.append(call[2]) if "job_attempts" in call[2] else None  # noqa: E731
    event.listen(session.connection(), "before_cursor_execute", listener)
    for _ in range(3):
        assert client.get("/metrics").status_code == 200
    event.remove(session.connection(), "before_cursor_execute", listener)
    assert len(asked) == 3  # claims, outcomes and rescues, once each


@pytest.mark.parametrize("role", [Role.ANNOTATOR])
def test_annotators_and_nobody_may_not_read_it(as_, client: TestClient, role: Role) -> None:
    assert as_(role).get("/metrics").status_code == 403
    assert client.get("/metrics").status_code == 401
    for key in ("", TOKEN, "rl_x_y"):
        assert client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code == 401


def test_the_token_reads_metrics_and_nothing_else_also_while_the_database_is_away() -> None:
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:9/none", metrics_token=TOKEN)
    client = TestClient(create_app(settings), base_url="http://localhost", headers={"Authorization": f"Bearer {TOKEN}"})
    assert client.get("/healthz").status_code == 200  # a request that the page can speak of
    page = client.get("/metrics")
    assert page.status_code == 200
    assert "rankloop_database_up 0.0" in page.text
    assert "rankloop_http_request_seconds_bucket" in page.text
    assert client.get("/v1/me").status_code == 503
    assert client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 503
