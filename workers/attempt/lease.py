"""A claimed job, held: the heartbeat that renews its lease, and every write under its fence.

Only the database's clock counts. A write that finds the lease gone raises LeaseLost; a heartbeat that
finds it gone ends the process on the spot, and with it Ray and the stage: a zombie writes nothing.
While Postgres is away the stage goes on, for a grace; then it gets time to save what it has.
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

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.sentence import Sentence
from annotation_api.db.engine import DatabaseUnavailable
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import LeaseLost, Wish
from annotation_api.db.kinds import ErrorKind
from workers.stage.faults import AttemptError

LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = 3.0  # also how soon a cancel or a pause is seen
RETRY_SECONDS = 1.0
GRACE_SECONDS = 600.0
LAST_SAVE_SECONDS = 300.0  # for a stage to save when the grace is over
# Postgres is gone, full or takes no writes, or a lock or a connection was not to be had in time.
AWAY = (DatabaseUnavailable, OperationalError, InterfaceError, InternalError, PoolTimeout)
EXIT_LOST = 3
EXIT_AWAY = 4  # Postgres was away to the end: nobody could be told how the attempt ended

log = logging.getLogger(__name__)
T = TypeVar("T")


class JobLease:
    """`with Lease(...) as lease:` holds the job from the first renewal to `finish`. Raises LeaseLost.

    `wish` is what somebody asks of the job; `stop`, once set, means that this process is to end.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        job_id: uuid.UUID,
        epoch: int,
        worker: str,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.job_id, self.epoch = job_id, epoch
        self.wish: Wish | None = None
        self.stop = threading.Event()
        self._sessions, self._worker, self._grace_seconds = sessions, worker, grace_seconds
        self._given_up = False
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
        Raises LeaseLost; AttemptError(DATABASE) after the grace, or when the process is to end. Then every further
        call tries once.
        """
        deadline = time.monotonic() + self._grace_seconds
        while True:
            try:
                with self._sessions.begin() as session:
                    return action(session)
            except AWAY as reason:
                self._wait_or_raise(reason, deadline)

    def finish(self, action: Callable[[Session], object]) -> None:
        """The last write of the attempt. The heartbeat stops first: afterwards there is no lease to renew."""
        self._stop()
        self.write(action)

    def _wait_or_raise(self, reason: Exception, deadline: float) -> None:
        log.warning("Waiting for Postgres: %s", reason)
        if self._given_up or time.monotonic() > deadline or self.stop.wait(RETRY_SECONDS):
            self._given_up = True
            raise AttemptError(
                ErrorKind.DATABASE,
                Sentence("postgres-away", "Postgres stayed away: %(reason)s", reason=reason),
                Sentence("look-at-its-log", "Look at its log."),
            ) from reason

    def _stop(self) -> None:
        self._ended.set()
        if self._heart.is_alive():
            self._heart.join()

    def _renew(self, session: Session) -> None:
        self.wish = job_store.renew(session, self.job_id, self.epoch, LEASE_SECONDS, worker=self._worker)

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
                if time.monotonic() - last > self._grace_seconds + 2 * LAST_SAVE_SECONDS:
                    _die("Postgres stayed away, and the attempt has not ended by itself.")
            except Exception:  # a heart that stops in silence would let the stage outlive its lease
                log.exception("The heartbeat failed.")
                _die("The lease can no longer be renewed; ending without a write.")


def _die(reason: str) -> None:
    """End this process now, from any thread. Ray and the stage's actor end with their driver."""
    log.error(reason)
    logging.shutdown()
    os._exit(EXIT_LOST)
