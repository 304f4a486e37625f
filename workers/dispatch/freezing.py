"""Large freezes and erasures, in a process of their own beside the launchers.

    python -m workers.dispatch.freezing

works off all that wait and ends. The dispatcher starts it when there are some, one at a time: they read and write
much, and keep Python busy, which must not hold up the taking back of jobs.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence

from sqlalchemy.orm import Session, sessionmaker

from annotation_api import logs
from annotation_api.db.engine import make_engine, session_factory
from annotation_api.db.erasing import erasures
from annotation_api.db.snapshots import freezes
from annotation_api.worker_settings import WorkerSettings
from workers.attempt.lease import AWAY, EXIT_AWAY

log = logging.getLogger(__name__)
COMMAND = (sys.executable, "-m", "workers.dispatch.freezing")
STOP_SECONDS = 5.0


class Freezer:
    """Starts the process when a freeze or an erasure waits; ends it with the dispatcher."""

    def __init__(self, sessions: sessionmaker[Session], command: Sequence[str] = COMMAND) -> None:
        self._sessions, self._command = sessions, command
        self._child: subprocess.Popen[bytes] | None = None

    def tend(self) -> None:
        if self._child is not None and self._child.poll() is None:
            return
        with self._sessions.begin() as session:
            waits = freezes.WAITING.some_wait(session) or erasures.WAITING.some_wait(session)
        self._child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL) if waits else None

    def stop(self) -> None:
        """What it was at is taken up by the next one: of a freeze nothing is stored, what is erased stays so."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def main() -> int:
    logs.start("freezing")
    settings = WorkerSettings.from_environment()
    url = settings.database_url
    if url is None:
        print("workers: RANKLOOP_DATABASE_URL is not set.", file=sys.stderr)
        return 1
    engine = make_engine(url, application_name="rankloop-freezing")
    try:
        freezes.work_off(session_factory(engine))
        if erasures.work_off(session_factory(engine), settings.home.resolve()):
            erasures.tidy(engine)
    except AWAY as reason:
        log.warning("What waits is taken up again once Postgres is back: %s", reason)
        return EXIT_AWAY
    finally:
        engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
