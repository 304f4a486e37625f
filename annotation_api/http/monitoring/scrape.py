"""GET /metrics, for Prometheus: what this process counted (`metrics`) and what the database knows (`db.figures`).

The database is asked at most once a second, whoever scrapes. While it is away the page still answers
and says `rankloop_database_up 0`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import QueuePool

from annotation_api.db import figures
from annotation_api.db.engine import DatabaseUnavailable
from annotation_api.db.figures import Figures
from annotation_api.http import metrics
from annotation_api.http.dependencies import READS_RUNS, allow_metrics
from annotation_api.http.entry.route import DoorRoute

FRESH_SECONDS = 1.0

log = logging.getLogger("rankloop.api")
router = APIRouter(tags=["health"], route_class=DoorRoute)


@router.get("/metrics", response_class=Response, dependencies=[allow_metrics(*READS_RUNS)])
def prometheus(request: Request) -> Response:
    """Prometheus' text format. For the token in RANKLOOP_METRICS_TOKEN, or a key that may read runs."""
    state = request.app.state
    registry = CollectorRegistry()
    registry.register(Collected(state.latest.read(state.sessions), state.engine))
    page = generate_latest(metrics.REGISTRY) + generate_latest(registry)
    return Response(page, media_type=CONTENT_TYPE_LATEST)


class Latest:
    """The newest figures; callers that come together wait for one answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._figures: Figures | None = None

    def read(self, sessions: sessionmaker[Session]) -> Figures | None:
        """None while the database is away."""
        with self._lock:
            if time.monotonic() - self._at > FRESH_SECONDS:
                self._figures, self._at = _ask(sessions), time.monotonic()
            return self._figures


def _ask(sessions: sessionmaker[Session]) -> Figures | None:
    try:
        with sessions() as session:
            return figures.read(session)
    except (DatabaseUnavailable, SQLAlchemyError) as error:
        log.warning("The database gave no figures: %s", error)
        return None


class Collected:
    """Figures as metric families; counters are those of the database, so they outlive this process."""

    def __init__(self, found: Figures | None, engine: Engine) -> None:
        self._found, self._engine = found, engine

    def collect(self) -> Iterator[Metric]:
        yield _gauge("database_up", "1 if the database gave its figures.", self._found is not None)
        yield from _pool(self._engine)
        if self._found is not None:
            yield from _jobs(self._found)
            yield from _attempts(self._found)
            yield from _service(self._found)


def _pool(engine: Engine) -> Iterator[Metric]:
    pool = engine.pool
    if isinstance(pool, QueuePool):
        yield _gauge("pool_connections_in_use", "Database connections that requests hold.", pool.checkedout())
        yield _gauge("pool_connections_kept", "Database connections that stay open between requests.", pool.size())


def _jobs(found: Figures) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("rankloop_jobs", "Jobs by stage and state.", labels=("stage", "state"))
    for labels, count in found.jobs.items():
        jobs.add_metric(labels, count)
    yield jobs
    oldest = GaugeMetricFamily(
        "rankloop_queue_oldest_seconds", "Age of the oldest queued job of a stage.", labels=("stage",)
    )
    for stage, seconds in found.oldest_queued.items():
        oldest.add_metric((stage,), seconds)
    yield oldest
    yield _gauge("jobs_waiting_gpu", "Jobs that wait for a GPU now.", found.waiting_gpu[0])
    yield _gauge("gpu_wait_longest_seconds", "The longest of their waits.", found.waiting_gpu[1])
    commit = GaugeMetricFamily(
        "rankloop_commit_seconds", "From a whole result to its rows, over the last hour.", labels=("statistic",)
    )
    for statistic, seconds in zip(("mean", "max"), found.commit_seconds, strict=True):
        commit.add_metric((statistic,), seconds)
    yield commit


def _attempts(found: Figures) -> Iterator[Metric]:
    yield _counter("claims", "Attempts that were begun.", found.claims)
    yield _counter("leases_lost", "Attempts whose lease ran out.", found.lost)
    yield _counter("rescues", "Attempts that took up a job whose attempt before had died.", found.rescues)
    yield _counter("gpu_wait_seconds", "What attempts have waited for GPUs.", found.waited_seconds)
    outcomes = CounterMetricFamily(
        "rankloop_attempts", "Attempts that ended, by outcome and kind of error.", labels=("outcome", "kind")
    )
    for labels, count in found.outcomes.items():
        outcomes.add_metric(labels, count)
    yield outcomes


def _service(found: Figures) -> Iterator[Metric]:
    yield _gauge("tasks_open", "Tasks that want more judgements.", found.open_tasks)
    yield _counter("submissions", "Judgements, by the highest number given to one.", found.submissions)
    for place, (name, text) in enumerate(
        (
            ("dispatchers", "Dispatchers that are alive, by what they know of Ray."),
            ("slots", "Jobs that dispatchers may run at a time."),
            ("slots_busy", "Jobs that dispatchers run."),
        )
    ):
        family = GaugeMetricFamily(f"rankloop_{name}", text, labels=("ray",))
        for ray, numbers in found.dispatchers.items():
            family.add_metric((ray,), numbers[place])
        yield family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"rankloop_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"rankloop_{name}", text, value=value)
