"""The dispatcher: claims queued jobs and starts one launcher for each attempt.

    python -m workers

Needs RANKLOOP_DATABASE_URL; reads RANKLOOP_HOME, RANKLOOP_SLOTS and RANKLOOP_RAY_ADDRESS (which it
leaves to the launchers: it never loads Ray or torch). Launchers outlive a dispatcher that dies; its
successor counts them against the slots. SIGTERM or Ctrl-C ends the launchers too, and their jobs are
queued again.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence

from annotation_api import logs
from annotation_api.db import homes
from annotation_api.db.engine import DatabaseUnavailable, make_engine, session_factory
from annotation_api.db.migrate import is_current
from annotation_api.settings import SettingsError
from annotation_api.worker_settings import WorkerSettings
from workers.dispatch.dispatcher import LAUNCHER, Dispatcher


class DispatcherCannotStart(Exception):
    """One sentence for the person who started the dispatcher."""


def main(launcher: Sequence[str] = LAUNCHER, make: type[Dispatcher] = Dispatcher) -> int:
    """Run until SIGTERM or SIGINT; the exit code. `launcher` is the command that JOB and EPOCH are added to."""
    logs.start("dispatcher")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        make_dispatcher(WorkerSettings.from_environment(), launcher, make).run(stop)
    except (DispatcherCannotStart, SettingsError, DatabaseUnavailable) as reason:
        print(f"workers: {reason}", file=sys.stderr)
        return 1
    return 0


def make_dispatcher(settings: WorkerSettings, launcher: Sequence[str], make: type[Dispatcher]) -> Dispatcher:
    """A dispatcher on a database that answers and is migrated; raises CannotStart, DatabaseUnavailable."""
    if settings.database_url is None:
        raise DispatcherCannotStart("RANKLOOP_DATABASE_URL is not set; `rankloop up` starts a database and sets it.")
    engine = make_engine(settings.database_url, application_name="rankloop-dispatcher")
    if not is_current(engine):
        raise DispatcherCannotStart("The database is not at this version's level; run `rankloop migrate` first.")
    sessions = session_factory(engine)
    try:
        with sessions.begin() as session:
            homes.settle(session, settings.home.resolve())
    except homes.OtherHome as reason:
        raise DispatcherCannotStart(str(reason)) from None
    return make(sessions, settings, launcher)


if __name__ == "__main__":
    sys.exit(main())
