"""One attempt of one job: the only writer for it, and with Ray the only driver.

    python -m workers.attempt.launcher JOB EPOCH

The dispatcher starts it after a claim. It resolves the inputs to files, has an executor run the stage,
carries events to the database, publishes the artifact and commits. However it ends, the stage ends with
it; the job is then queued again, or its lease runs out.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import uuid
from collections.abc import Sequence

from alignment.shared.events import Paused
from annotation_api import logs
from annotation_api.db.engine import make_engine, session_factory
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, CancelRequested, Failure, LeaseLost
from annotation_api.db.kinds import ErrorKind
from annotation_api.settings import OPENS_THE_SERVICE
from annotation_api.worker_settings import WorkerSettings
from workers.attempt.lease import EXIT_AWAY, EXIT_LOST, JobLease
from workers.attempt.mirrors.feed import Mirrors
from workers.attempt.run import Attempt, Stopped
from workers.executors.choose import make_executor
from workers.stage.environment import forget_secrets
from workers.stage.faults import AttemptError, fault_of
from workers.stage.kinds import run_job
from workers.stage.work import Runner
from workers.staging import Folders

# What the same attempt may survive next time, and whose fault it was.
AGAIN = {
    ErrorKind.CRASH: Again.CRASH,
    ErrorKind.CLUSTER: Again.INTERRUPTED,
    ErrorKind.DATABASE: Again.INTERRUPTED,
}

log = logging.getLogger("workers.attempt.launcher")


def main(arguments: Sequence[str] | None = None, run: Runner = run_job) -> int:
    """Carry out the attempt; the exit code says whether this process ended its job properly."""
    job_id, epoch = parse(arguments or sys.argv[1:])
    logs.start("launcher", style="text", job=job_id, epoch=epoch)
    settings = WorkerSettings.from_environment()
    if settings.database_url is None:
        print("workers.attempt.launcher: RANKLOOP_DATABASE_URL is not set.", file=sys.stderr)
        return 1
    engine = make_engine(settings.database_url, application_name="rankloop-launcher")
    forget_secrets(*OPENS_THE_SERVICE)  # Ray and the stage inherit the rest: the hub's token is needed for base models
    folders = Folders(settings.home.resolve(), job_id, epoch)
    lease = JobLease(
        session_factory(engine), job_id, epoch, f"{platform.node()}:{os.getpid()}", settings.database_grace_seconds
    )
    return hold_and_carry_out(lease, folders, settings, run)


def hold_and_carry_out(lease: JobLease, folders: Folders, settings: WorkerSettings, run: Runner) -> int:
    """The attempt from the first renewal of its lease to the last file that goes; the exit code."""
    executor, mirrors = make_executor(settings, folders), Mirrors(settings, settings.home.resolve())
    try:
        with lease:
            attempt = Attempt(lease, folders, executor, run, mirrors, settings.teacher_endpoints)
            carry_out(attempt, lease, folders, mirrors)
    except LeaseLost as reason:
        log.error("%s; nothing more is written.", reason)
        return EXIT_LOST
    except AttemptError as reason:
        log.error("%s The job is left to its dispatcher.", reason)
        return EXIT_AWAY
    finally:
        executor.end()
        folders.discard()
        mirrors.close()
    return 0


def carry_out(attempt: Attempt, lease: JobLease, folders: Folders, mirrors: Mirrors) -> None:
    """Run the attempt to its end and write how it ended. Raises LeaseLost, AttemptError when Postgres stays away."""
    job_id, epoch = lease.job_id, lease.epoch
    try:
        attempt.run()
    except LeaseLost:
        raise
    except Stopped:
        log.info("Stopping: the job is queued again.")
        mirrors.ended("queued")
        lease.finish(lambda session: job_store.release(session, job_id, epoch))
    except Paused:
        log.info("The stage saved what it had and stopped.")
        mirrors.ended("paused")
        lease.finish(lambda session: job_store.mark_paused(session, job_id, epoch))
    except Exception as error:
        mirrors.ended(fault_of(error).kind.value)
        _write_failure(error, lease, folders)


def _write_failure(error: Exception, lease: JobLease, folders: Folders) -> None:
    fault = fault_of(error)
    if isinstance(error, CancelRequested) or fault.kind is ErrorKind.CANCELLED:
        log.info("Stopped on request.")
        lease.finish(lambda session: job_store.mark_cancelled(session, lease.job_id, lease.epoch))
        return
    log.error("%s: %s %s", fault.kind.value, fault.cause, fault.next_step, exc_info=error)
    failure = Failure(fault.kind, fault.cause, fault.next_step, fault.traceback, folders.last_words())
    again = AGAIN.get(fault.kind, Again.NEVER)
    lease.finish(lambda session: job_store.fail(session, lease.job_id, lease.epoch, failure, again))


def parse(arguments: Sequence[str]) -> tuple[uuid.UUID, int]:
    """The job and the epoch; SystemExit with the usage otherwise."""
    try:
        job, epoch = arguments
        return uuid.UUID(job), int(epoch)
    except ValueError:
        raise SystemExit("usage: python -m workers.attempt.launcher JOB EPOCH") from None


if __name__ == "__main__":
    sys.exit(main())
