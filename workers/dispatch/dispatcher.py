"""The dispatcher's loop: take back what died, claim what is queued, start launchers, report, sweep, fold counts."""

from __future__ import annotations

import logging
import math
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import IO

import psutil
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.records import storable
from annotation_api import logs
from annotation_api.db import dispatchers
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.machine import LIVE
from annotation_api.db.jobs.records import LeaseLost
from annotation_api.db.tables import Job, JobAttempt, RayState
from annotation_api.db.tallies import fold
from annotation_api.worker_settings import WorkerSettings
from workers.attempt.lease import AWAY, LEASE_SECONDS
from workers.crashpoints import crash_point
from workers.dispatch import post_mortem, processes
from workers.dispatch.freezing import Freezer
from workers.dispatch.ray_watch import RayWatch
from workers.dispatch.retention import sweep_checkpoints
from workers.settings import launcher_environment
from workers.staging import Folders, sweep

POLL_SECONDS = 0.5
REPORT_SECONDS = 3.0
SWEEP_SECONDS = 600.0  # also when no launcher ends: checkpoints grow old
FOLD_SECONDS = 0.25  # of a round, for counting what was judged since the last one
STOP_SECONDS = 15.0  # for launchers to give their jobs back; `rankloop up` waits a little longer
LAUNCHER = (sys.executable, "-m", "workers.attempt.launcher")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldJob:
    """An attempt that this machine holds, by what the database says."""

    job_id: uuid.UUID
    epoch: int
    worker: str  # host:pid of the launcher, or of the dispatcher as long as the launcher has not reported

    @property
    def pid(self) -> int:
        return int(self.worker.rpartition(":")[2])


class Dispatcher:
    """Keeps `settings.slots` launchers busy. `launcher` is the command that JOB and EPOCH are added to."""

    def __init__(self, sessions: sessionmaker[Session], settings: WorkerSettings, launcher: Sequence[str]) -> None:
        self._sessions, self._settings, self._launcher = sessions, settings, launcher
        self._home = settings.home.resolve()
        self._name = f"{platform.node()}:{os.getpid()}"
        self._children: dict[tuple[uuid.UUID, int], subprocess.Popen[bytes]] = {}
        self._codes: dict[tuple[uuid.UUID, int], int] = {}  # how launchers of this dispatcher ended
        self._freezer = Freezer(sessions)
        self._watch, self._ray, self._told = RayWatch(settings), RayState.LOCAL, ""
        self._left_out: tuple[str, ...] = ()  # machines of the cluster
        self._reported = self._swept = -math.inf
        self._expire_from = 0.0  # leases that ran out while Postgres was away are given time to be renewed
        self._sweep_due = True

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then end this machine's launchers. Waits while Postgres is away."""
        settings = self._settings
        log.info("The dispatcher is ready: %d slots, files in %s, %s.", settings.slots, self._home, settings.executor)
        while not stop.is_set():
            try:
                self.tick()
            except AWAY as reason:
                self._wait_for_postgres(reason, stop)
            stop.wait(POLL_SECONDS)
        self._watch.end()
        self.stop_launchers()

    def tick(self) -> None:
        """One round: everything that is to be done now."""
        self._check_ray()
        self._reap()
        held = self._take_back()
        busy = len(held)
        self._report(busy)  # before a claim: the others of this machine must know whose it is
        while self._ray is not RayState.DOWN and busy < self._settings.slots and self._claim_and_start():
            busy += 1
        self._sweep()
        self._freezer.tend()
        fold.catch_up(self._sessions, FOLD_SECONDS)

    def stop_launchers(self) -> None:
        """Ask every launcher of this machine to give its job back, and wait for it."""
        self._freezer.stop()
        launchers = [process for process in map(processes.find, self._launcher_pids()) if process]
        log.info("Stopping; %d launchers give their jobs back.", len(launchers))
        for process in launchers:
            processes.send(process, signal.SIGTERM)
        _, stubborn = psutil.wait_procs(launchers, timeout=STOP_SECONDS)
        for process in stubborn:
            log.warning("Launcher %d did not end within %.0f s and is killed.", process.pid, STOP_SECONDS)
            processes.send(process, signal.SIGKILL)
        self._reap()
        try:
            self._take_back()  # the jobs of those that could not give them back
            self._sweep()
            with self._sessions.begin() as session:
                dispatchers.leave(session, self._name)
        except AWAY as reason:
            log.warning("Jobs are left to their leases: %s", reason)

    # ------------------------------------------------------------ what is there

    def _check_ray(self) -> None:
        before, self._ray = self._ray, self._watch.look()
        if self._watch.why != self._told and self._watch.why:
            log.warning("No job is started: %s", self._watch.why)
        if before is RayState.DOWN and self._ray is RayState.UP:
            log.info("Launchers get into the Ray cluster at %s.", self._settings.ray_address)
        for machine in self._watch.left_out if self._watch.left_out != self._left_out else ():
            log.warning("A machine gets no jobs: %s.", machine)
        self._told, self._left_out = self._watch.why, self._watch.left_out

    def _report(self, busy: int) -> None:
        """Say now and then that this dispatcher is there."""
        if time.monotonic() - self._reported >= REPORT_SECONDS:
            with self._sessions.begin() as session:
                dispatchers.report(session, self._name, slots=self._settings.slots, busy=busy, ray=self._ray)
            self._reported = time.monotonic()

    def _sweep(self) -> None:
        """Remove what dead attempts left: at the start, after each launcher that ended, and now and then."""
        if self._sweep_due or time.monotonic() - self._swept >= SWEEP_SECONDS:
            with self._sessions.begin() as session:
                sweep(session, self._home)
                sweep_checkpoints(session, self._home, self._settings.checkpoint_days)
            self._sweep_due, self._swept = False, time.monotonic()

    # ------------------------------------------------------------ take back

    def _reap(self) -> None:
        """Bury launchers that ended, and what Ray left in their process group."""
        for (job_id, epoch), child in list(self._children.items()):
            if child.poll() is None:
                continue
            what = logs.attempt(job_id, epoch)
            log.info(
                "The launcher of job %s, attempt %d, ended with code %d.", job_id, epoch, child.returncode, extra=what
            )
            processes.end_group(child.pid)
            del self._children[job_id, epoch]
            self._codes[job_id, epoch] = child.returncode
            self._sweep_due = True

    def _take_back(self) -> list[HeldJob]:
        """Queue again what lost its launcher or its lease; what this machine still holds."""
        with self._sessions.begin() as session:
            if time.monotonic() >= self._expire_from:
                for job in job_store.requeue_expired(session):
                    what = logs.attempt(job.id, job.epoch)
                    lost = "Job %s: the lease of attempt %d ran out; it is %s."
                    log.warning(lost, job.id, job.epoch, job.state.value, extra=what)
                    self._add_log(session, job)
            held = self._held(session)
            reporting = {row.id for row in dispatchers.alive(session)}
            dead = [attempt for attempt in held if not self._lives(attempt, reporting)]
            for attempt in dead:
                self._give_back(session, attempt)
        self._codes.clear()
        return [attempt for attempt in held if attempt not in dead]

    def _held(self, session: Session) -> list[HeldJob]:
        rows = select(Job.id, Job.epoch, Job.claimed_by).where(
            Job.state.in_(LIVE), Job.claimed_by.startswith(f"{platform.node()}:", autoescape=True)
        )
        return [HeldJob(job, epoch, str(worker)) for job, epoch, worker in session.execute(rows)]

    def _lives(self, held: HeldJob, reporting: Collection[str]) -> bool:
        """Whether the attempt has a launcher, or another dispatcher (of those `reporting`) is about to start one."""
        if (held.job_id, held.epoch) in self._children or is_launcher(held.pid, held):
            return True
        return held.worker != self._name and held.worker in reporting and processes.lives(held.pid)

    def _give_back(self, session: Session, held: HeldJob) -> None:
        what = logs.attempt(held.job_id, held.epoch)
        log.warning("Job %s, attempt %d: its process %d is gone.", held.job_id, held.epoch, held.pid, extra=what)
        words = Folders(self._home, held.job_id, held.epoch).last_words()
        code = self._codes.get((held.job_id, held.epoch))
        failure, again = post_mortem.examine(held.pid, held.epoch, code, self._watch.head_lost, words)
        try:
            job_store.fail(session, held.job_id, held.epoch, failure, again)
        except LeaseLost:  # it ended between the two questions
            log.info("Job %s, attempt %d had ended.", held.job_id, held.epoch, extra=what)

    def _add_log(self, session: Session, job: Job) -> None:
        """What the attempt that stopped reporting wrote last, where its log is at hand."""
        if job.error and (words := Folders(self._home, job.id, job.epoch).last_words()):
            job.error = job.error | {"log": storable(words)}
            session.get_one(JobAttempt, (job.id, job.epoch)).error = job.error

    # ------------------------------------------------------------ start

    def _claim_and_start(self) -> bool:
        crash_point("before_claim")
        with self._sessions.begin() as session:
            job = job_store.claim(session, self._name, LEASE_SECONDS)
        if job is None:
            return False
        crash_point("after_claim")
        self._start(job.id, job.epoch)
        return True

    def _start(self, job_id: uuid.UUID, epoch: int) -> None:
        """Start a launcher in a session of its own, so that the end of this process does not reach it."""
        path = Folders(self._home, job_id, epoch).log
        path.parent.mkdir(parents=True, exist_ok=True)
        crash_point("before_spawn")
        with path.open("ab") as output:
            child = self.spawn(job_id, epoch, output)
        crash_point("after_spawn")
        self._children[job_id, epoch] = child
        what = logs.attempt(job_id, epoch)
        log.info("Job %s, attempt %d: launcher %d started.", job_id, epoch, child.pid, extra=what)

    def spawn(self, job_id: uuid.UUID, epoch: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """The process of the launcher."""
        return subprocess.Popen(
            [*self._launcher, str(job_id), str(epoch)],
            env=launcher_environment(self._settings.ray_address),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

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


def is_launcher(pid: int, held: HeldJob) -> bool:
    """Whether this process is the launcher of that very attempt."""
    return processes.runs(pid, str(held.job_id), str(held.epoch))
