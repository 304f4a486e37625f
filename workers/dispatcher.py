"""The dispatcher's loop: take back what died, claim what is queued, start launchers, sweep."""

from __future__ import annotations

import logging
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from alignment.events import ErrorKind
from annotation_api.db import job_store
from annotation_api.db.job_machine import LIVE
from annotation_api.db.job_records import Again, Failure, LeaseLost
from annotation_api.db.tables import Job
from workers.claims import AWAY, LEASE_SECONDS
from workers.settings import WorkerSettings, launcher_environment
from workers.staging import Folders, sweep

POLL_SECONDS = 0.5
STOP_SECONDS = 15.0  # for launchers to give their jobs back; `rankloop up` waits a little longer
LAUNCHER = (sys.executable, "-m", "workers.launcher")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """An attempt that this machine holds, by what the database says."""

    job_id: uuid.UUID
    epoch: int
    pid: int  # of the launcher, or of the dispatcher as long as the launcher has not reported


class Dispatcher:
    """Keeps `settings.slots` launchers busy. `launcher` is the command that JOB and EPOCH are added to."""

    def __init__(self, sessions: sessionmaker[Session], settings: WorkerSettings, launcher: Sequence[str]) -> None:
        self._sessions, self._settings, self._launcher = sessions, settings, launcher
        self._home = settings.home.resolve()
        self._children: dict[tuple[uuid.UUID, int], subprocess.Popen[bytes]] = {}
        self._expire_from = 0.0  # leases that ran out while Postgres was away are given time to be renewed
        self._sweep_due = True

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then end this machine's launchers. Waits while Postgres is away."""
        log.info("The dispatcher is ready: %d slots, files in %s.", self._settings.slots, self._home)
        while not stop.is_set():
            try:
                self.tick()
            except AWAY as reason:
                self._wait_for_postgres(reason, stop)
            stop.wait(POLL_SECONDS)
        self.stop_launchers()

    def tick(self) -> None:
        """One round: everything that is to be done now."""
        self._reap()
        held = self._take_back()
        for _ in range(len(held), self._settings.slots):
            if not self._claim_and_start():
                break
        self._sweep()

    def stop_launchers(self) -> None:
        """Ask every launcher of this machine to give its job back, and wait for it."""
        processes = [process for process in map(_process, self._launcher_pids()) if process]
        log.info("Stopping; %d launchers give their jobs back.", len(processes))
        for process in processes:
            _signal(process, signal.SIGTERM)
        _, stubborn = psutil.wait_procs(processes, timeout=STOP_SECONDS)
        for process in stubborn:
            log.warning("Launcher %d did not end within %.0f s and is killed.", process.pid, STOP_SECONDS)
            _signal(process, signal.SIGKILL)
        self._reap()
        try:
            self._take_back()  # the jobs of those that could not give them back
            self._sweep()
        except AWAY as reason:
            log.warning("Jobs are left to their leases: %s", reason)

    # ------------------------------------------------------------ take back

    def _sweep(self) -> None:
        """Remove what dead attempts left: at the start, and after each launcher that ended."""
        if self._sweep_due:
            with self._sessions.begin() as session:
                sweep(session, self._home)
            self._sweep_due = False

    def _reap(self) -> None:
        """Bury launchers that ended, and what Ray left in their process group."""
        for (job_id, epoch), child in list(self._children.items()):
            if child.poll() is None:
                continue
            log.info("The launcher of job %s, attempt %d, ended with code %d.", job_id, epoch, child.returncode)
            _end_group(child.pid)
            del self._children[job_id, epoch]
            self._sweep_due = True

    def _take_back(self) -> list[Held]:
        """Queue again what lost its launcher or its lease; what this machine still holds."""
        with self._sessions.begin() as session:
            if time.monotonic() >= self._expire_from:
                for job in job_store.requeue_expired(session):
                    log.warning("Job %s: the lease of attempt %d ran out; it is %s.", job.id, job.epoch, job.state)
            held = self._held(session)
            dead = [attempt for attempt in held if not self._lives(attempt)]
            for attempt in dead:
                self._give_back(session, attempt)
        return [attempt for attempt in held if attempt not in dead]

    def _held(self, session: Session) -> list[Held]:
        rows = select(Job.id, Job.epoch, Job.claimed_by).where(
            Job.state.in_(LIVE), Job.claimed_by.startswith(f"{platform.node()}:", autoescape=True)
        )
        return [Held(row[0], row[1], int(str(row[2]).rpartition(":")[2])) for row in session.execute(rows)]

    def _lives(self, held: Held) -> bool:
        """Whether the attempt has a launcher, or another dispatcher that is about to start one."""
        if (held.job_id, held.epoch) in self._children or is_launcher(held.pid, held):
            return True
        return held.pid != os.getpid() and _runs(held.pid, "workers")

    def _give_back(self, session: Session, held: Held) -> None:
        log.warning("Job %s, attempt %d: its process %d is gone.", held.job_id, held.epoch, held.pid)
        failure = Failure(
            ErrorKind.CRASH,
            f"Process {held.pid}, which ran attempt {held.epoch}, died.",
            "It is tried again by itself; if it keeps dying, look at the end of its log.",
            log=Folders(self._home, held.job_id, held.epoch).last_words(),
        )
        try:
            job_store.fail(session, held.job_id, held.epoch, failure, Again.CRASH)
        except LeaseLost:  # it ended between the two questions
            log.info("Job %s, attempt %d had ended.", held.job_id, held.epoch)

    # ------------------------------------------------------------ start

    def _claim_and_start(self) -> bool:
        with self._sessions.begin() as session:
            job = job_store.claim(session, f"{platform.node()}:{os.getpid()}", LEASE_SECONDS)
        if job is None:
            return False
        self._start(job.id, job.epoch)
        return True

    def _start(self, job_id: uuid.UUID, epoch: int) -> None:
        """Start a launcher in a session of its own, so that the end of this process does not reach it."""
        path = Folders(self._home, job_id, epoch).log
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as output:
            child = subprocess.Popen(
                [*self._launcher, str(job_id), str(epoch)],
                env=launcher_environment(self._settings.ray_address),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._children[job_id, epoch] = child
        log.info("Job %s, attempt %d: launcher %d started.", job_id, epoch, child.pid)

    # ------------------------------------------------------------ Postgres away, launchers

    def _wait_for_postgres(self, reason: Exception, stop: threading.Event) -> None:
        """Return once it answers or `stop` is set; launchers then get time to renew their leases."""
        log.warning("Waiting for Postgres; running jobs go on. %s", reason)
        while not stop.is_set() and not self._postgres_answers():
            stop.wait(POLL_SECONDS)
        self._expire_from = time.monotonic() + LEASE_SECONDS
        log.info("Postgres is back." if not stop.is_set() else "Stopped waiting for Postgres.")

    def _postgres_answers(self) -> bool:
        try:
            with self._sessions.begin() as session:
                return session.scalar(select(1)) == 1
        except AWAY:
            return False

    def _launcher_pids(self) -> set[int]:
        """This dispatcher's launchers, and those of a predecessor as far as the database can tell."""
        pids = {child.pid for child in self._children.values() if child.poll() is None}
        try:
            with self._sessions.begin() as session:
                return pids | {held.pid for held in self._held(session) if is_launcher(held.pid, held)}
        except AWAY as reason:
            log.warning("Only launchers of this dispatcher are stopped: %s", reason)
            return pids


def is_launcher(pid: int, held: Held) -> bool:
    """Whether this process is the launcher of that very attempt: a process id alone may have been used again."""
    return _runs(pid, str(held.job_id), str(held.epoch))


def _runs(pid: int, *last: str) -> bool:
    """Whether the process exists and its command ends in these arguments."""
    try:
        command: list[str] = psutil.Process(pid).cmdline()
        return command[-len(last) :] == list(last)
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return False


def _end_group(pid: int) -> None:
    """End what is left of a launcher's process group: two agents of Ray outlive a killed head by a minute."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("Launcher %d left nothing behind.", pid)


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        log.debug("Process %d ended by itself.", process.pid)
