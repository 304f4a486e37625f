"""A claimed job, held: the heartbeat that renews its lease, and every write under its fence.

Only the database's clock counts. A write that finds the lease gone raises LeaseLost; a heartbeat that
finds it gone ends the process on the spot, and with it Ray and the stage: a zombie writes nothing.
While Postgres is away the stage goes on, for `GRACE_SECONDS`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from alignment.events import ErrorKind, StageError
from annotation_api.db import job_store
from annotation_api.db.engine import DatabaseUnavailable
from annotation_api.db.job_records import LeaseLost, Wish

LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = 3.0  # also how soon a cancel request is seen
RETRY_SECONDS = 1.0
GRACE_SECONDS = 600.0
# Postgres is gone, or a lock or a connection was not to be had in time.
AWAY = (DatabaseUnavailable, OperationalError, InterfaceError, PoolTimeout)
EXIT_LOST = 3

log = logging.getLogger(__name__)
T = TypeVar("T")


class Lease:
    """`with Lease(...) as lease:` holds the job from the first renewal to `finish`. Raises LeaseLost."""

    def __init__(self, sessions: sessionmaker[Session], job_id: uuid.UUID, epoch: int, worker: str) -> None:
        self.job_id, self.epoch = job_id, epoch
        self.cancel_requested = threading.Event()
        self._sessions, self._worker = sessions, worker
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self.write(self._renew)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def write(self, action: Callable[[Session], T]) -> T:
        """Run `action` in one transaction, again and again while Postgres is away.

        A commit whose answer was lost may have happened, so `action` must bear being run twice.
        Raises LeaseLost, StageError(DATABASE) after the grace.
        """
        deadline = time.monotonic() + GRACE_SECONDS
        while True:
            try:
                with self._sessions.begin() as session:
                    return action(session)
            except AWAY as reason:
                _wait_or_raise(reason, deadline)

    def finish(self, action: Callable[[Session], object]) -> None:
        """The last write of the attempt. The heartbeat stops first: afterwards there is no lease to renew."""
        self._stop()
        self.write(action)

    def _stop(self) -> None:
        self._ended.set()
        if self._heart.is_alive():
            self._heart.join()

    def _renew(self, session: Session) -> None:
        if job_store.renew(session, self.job_id, self.epoch, LEASE_SECONDS, worker=self._worker) is Wish.CANCEL:
            self.cancel_requested.set()

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                with self._sessions.begin() as session:
                    self._renew(session)
                last = time.monotonic()
            except LeaseLost as reason:
                _die(f"{reason}; ending without a write.")
            except AWAY as reason:
                log.warning("The lease could not be renewed: %s", reason)
                if time.monotonic() - last > GRACE_SECONDS:
                    _die(f"Postgres has been away for {GRACE_SECONDS:.0f} s.")
            except Exception:  # a heart that stops in silence would let the stage outlive its lease
                log.exception("The heartbeat failed.")
                _die("The lease can no longer be renewed; ending without a write.")


def _wait_or_raise(reason: Exception, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise StageError(ErrorKind.DATABASE, f"Postgres stayed away: {reason}", "Look at its log.") from reason
    log.warning("Waiting for Postgres: %s", reason)
    time.sleep(RETRY_SECONDS)


def _die(reason: str) -> None:
    """End this process now, from any thread. Ray and the stage's actor end with their driver."""
    log.error(reason)
    logging.shutdown()
    os._exit(EXIT_LOST)
