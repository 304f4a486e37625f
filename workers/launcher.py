"""One attempt of one job: the only Ray driver, and the only writer, for it.

    python -m workers.launcher JOB EPOCH

The dispatcher starts it after a claim. It resolves the inputs to files, starts the stage in a Ray
actor, carries events to the database, publishes the artifact and commits. However it ends, Ray and
the actor end with it; the job is then queued again, or its lease runs out.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import uuid
from collections.abc import Sequence

import ray

from alignment import logs, stages
from alignment.events import ErrorKind
from annotation_api.db import job_store
from annotation_api.db.engine import make_engine, session_factory
from annotation_api.db.job_records import CancelRequested, LeaseLost
from workers.actors import Runner
from workers.attempt import Attempt, Stopped
from workers.claims import EXIT_LOST, Lease
from workers.faults import fault_of
from workers.settings import WorkerSettings
from workers.staging import Folders

SECRETS = (
    "RANKLOOP_DATABASE_URL",
    "RANKLOOP_API_KEY",
    "RANKLOOP_METRICS_TOKEN",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICEFILE",
)

log = logging.getLogger("workers.launcher")


def main(arguments: Sequence[str] | None = None, run: Runner = stages.run) -> int:
    """Carry out the attempt; the exit code says whether this process ended its job properly."""
    job_id, epoch = parse(arguments or sys.argv[1:])
    logs.start("launcher", style="text", job=job_id, epoch=epoch)
    settings = WorkerSettings.from_environment()
    if settings.database_url is None:
        print("workers.launcher: RANKLOOP_DATABASE_URL is not set.", file=sys.stderr)
        return 1
    engine = make_engine(settings.database_url, application_name="rankloop-launcher")
    forget_secrets()
    folders = Folders(settings.home.resolve(), job_id, epoch)
    try:
        with Lease(session_factory(engine), job_id, epoch, f"{platform.node()}:{os.getpid()}") as lease:
            carry_out(Attempt(lease, folders, settings.ray_address, run), lease, folders)
    except LeaseLost as reason:
        log.error("%s; nothing more is written.", reason)
        return EXIT_LOST
    finally:
        ray.shutdown()
        folders.discard()
    return 0


def carry_out(attempt: Attempt, lease: Lease, folders: Folders) -> None:
    """Run the attempt to its end and write how it ended. Raises LeaseLost."""
    try:
        attempt.run()
    except LeaseLost:
        raise
    except Stopped:
        log.info("Stopping: the job is queued again.")
        lease.finish(lambda session: job_store.release(session, lease.job_id, lease.epoch))
    except Exception as error:
        _write_failure(error, lease, folders)


def _write_failure(error: Exception, lease: Lease, folders: Folders) -> None:
    fault = fault_of(error)
    if isinstance(error, CancelRequested) or fault.kind is ErrorKind.CANCELLED:
        log.info("Stopped on request.")
        lease.finish(lambda session: job_store.mark_cancelled(session, lease.job_id, lease.epoch))
        return
    log.error("%s: %s %s", fault.kind.value, fault.cause, fault.next_step, exc_info=error)
    failure = fault.failure(folders.last_words())
    lease.finish(lambda session: job_store.fail(session, lease.job_id, lease.epoch, failure, fault.again))


def parse(arguments: Sequence[str]) -> tuple[uuid.UUID, int]:
    """The job and the epoch; SystemExit with the usage otherwise."""
    try:
        job, epoch = arguments
        return uuid.UUID(job), int(epoch)
    except ValueError:
        raise SystemExit("usage: python -m workers.launcher JOB EPOCH") from None


def forget_secrets() -> None:
    """Take what opens the database out of the environment that Ray and the stage inherit."""
    for name in SECRETS:
        os.environ.pop(name, None)
        os.environ.pop(f"{name}_FILE", None)


if __name__ == "__main__":
    sys.exit(main())
