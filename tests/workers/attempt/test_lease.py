"""The heartbeat: what it waits out, and what ends the process."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from annotation_api.db.engine import DatabaseUnavailable
from annotation_api.db.jobs.records import LeaseLost
from workers.attempt import lease


class Ended(Exception):
    """Stands for the end of the process."""


class Failing:
    """Sessions whose first transaction fails; the lease then counts as finished."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.lease: lease.JobLease | None = None

    def begin(self) -> Any:
        assert self.lease is not None
        self.lease._ended.set()
        raise self.error


def beat(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """One heartbeat whose renewal fails with `error`; raises Ended where it ends the process."""

    def die(reason: str) -> None:
        raise Ended(reason)

    monkeypatch.setattr(lease, "_die", die)
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.0)
    sessions: Any = Failing(error)
    sessions.lease = lease.JobLease(sessions, uuid.uuid4(), 1, "host:1")
    sessions.lease._beat()


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable("gone"),
        OperationalError("select 1", {}, Exception("lock timeout")),
        InterfaceError("select 1", {}, Exception("the connection is closed")),
        InternalError("update jobs", {}, Exception("cannot execute UPDATE in a read-only transaction")),
        PoolTimeout("QueuePool limit reached"),
    ],
)
def test_a_database_that_is_away_is_waited_for(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    beat(error, monkeypatch)


@pytest.mark.parametrize("error", [LeaseLost("attempt 1 no longer holds the job"), RuntimeError("unforeseen")])
def test_a_heart_that_cannot_go_on_ends_the_process(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent end of the thread would let the stage go on without a lease."""
    with pytest.raises(Ended, match="ending without a write"):
        beat(error, monkeypatch)
