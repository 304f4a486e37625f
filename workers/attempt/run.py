"""What a launcher does between claim and commit: inputs, the stage, its events, its artifact."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
import uuid
from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.events import Paused, StageResult
from alignment.shared.gpus import refuse_impossible
from alignment.shared.sentence import Sentence, counted
from alignment.shared.stages import INPUTS, ResumableInputs
from annotation_api import logs
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.records import Wish
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Job
from workers.attempt import card
from workers.attempt.commit import Published, commit, publish
from workers.attempt.inputs import Resolved, pin, resolve
from workers.attempt.journal import Journal
from workers.attempt.lease import LAST_SAVE_SECONDS, JobLease
from workers.attempt.mirrors.feed import Mirrors
from workers.attempt.teachers import Endpoints, teacher_of
from workers.crashpoints import crash_point
from workers.executors.base import Executor, Waiting
from workers.stage.faults import AttemptError
from workers.stage.work import Runner, StageWork
from workers.staging import Folders

TICK_SECONDS = 0.5  # how often events are carried, and a stop, a cancel or a pause is looked for
CANCEL_SECONDS = 60.0  # a stage that has not stopped by itself by then is ended
STOP_SECONDS = 8.0  # what a stage has to save when the service stops; the dispatcher waits a little longer
LAST_EVENTS_SECONDS = 60.0

log = logging.getLogger(__name__)


class Stopped(Exception):
    """This process was told to end; its job was not."""


class Attempt:
    """One attempt at a job. `run` raises Stopped, Paused, CancelRequested, LeaseLost, or what ended the stage."""

    def __init__(
        self,
        lease: JobLease,
        folders: Folders,
        executor: Executor,
        runner: Runner,
        mirrors: Mirrors,
        endpoints: Endpoints,
    ) -> None:
        self._lease, self._folders, self._executor, self._runner = lease, folders, executor, runner
        self._endpoints = endpoints
        self._mirrors = mirrors
        self._journal = Journal(lease)
        self._saves = False  # whether the stage writes checkpoints
        self._asked: Wish | None = None
        self._asked_at = 0.0

    def run(self) -> None:
        self._heed_signals()
        self._journal.waiting(Waiting("loading"))
        job, resolved = self._prepare()
        inputs = resolved.inputs(self._pin) | self._checkpoint_folders(job) | teacher_of(job.config, self._endpoints)
        log.info("The inputs are there.")
        self._mirrors.start(job, self._folders.epoch)
        crash_point("after_inputs")
        self._start(job, inputs)
        crash_point("stage_started")
        result = self._follow()
        log.info("The stage is over.")
        crash_point("stage_over")
        self._journal.mark_running()
        self._journal.mark_committing()
        card.write(
            self._folders.out, self._lease.write(lambda session: card.lineage_of(session, job, resolved)), result
        )
        published = publish(self._folders, job.config, result)
        crash_point("before_commit")
        self._lease.finish(lambda session: self._commit(session, resolved, published, result))
        crash_point("after_commit")
        self._mirrors.ended("succeeded", result.metrics, [asdict(file) for file in published.files])
        log.info("Committed %s.", self._folders.artifact)

    # ------------------------------------------------------------ start

    def _heed_signals(self) -> None:
        """SIGTERM and SIGINT ask the attempt to end at its next tick."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._lease.stop.set())

    def _prepare(self) -> tuple[Job, Resolved]:
        self._folders.inputs.mkdir(parents=True)
        self._folders.out.mkdir()

        def find(session: Session) -> tuple[Job, Resolved]:
            job = session.get_one(Job, self._folders.job_id)
            return job, resolve(session, job, self._folders.inputs)

        return self._lease.write(find)

    def _pin(self, model: uuid.UUID, commit: str) -> str:
        return self._lease.write(lambda session: pin(session, model, commit))

    def _checkpoint_folders(self, job: Job) -> dict[str, Any]:
        """Where the stage saves, and where all attempts of the job have saved."""
        self._saves = issubclass(INPUTS[job.stage], ResumableInputs)
        if not self._saves:
            return {}
        self._folders.checkpoints.mkdir(parents=True)
        return {"checkpoints": self._folders.checkpoints, "resume_from": self._folders.all_checkpoints}

    def _start(self, job: Job, inputs: dict[str, Any]) -> None:
        """Have the stage run, and say why it does not yet."""
        refuse_impossible(job.stage, job.config, job.gpus)
        threads = os.environ.get("OMP_NUM_THREADS")
        about = logs.attempt(self._folders.job_id, self._folders.epoch)
        limit, log_file = int(threads) if threads else None, self._folders.log
        out, gpus = self._folders.out, job.gpus
        work = StageWork(job.stage, job.config, inputs, out, self._runner, about, log_file, limit, gpus)
        self._executor.start(work, gpus, allow_cpu=job.allow_cpu)
        self._heed_signals()  # Ray has put its own in their place
        while (waiting := self._executor.placed(TICK_SECONDS)) is not None:
            self._obey_before_start()
            self._journal.waiting(waiting)
        self._journal.device = self._executor.device
        if job.gpus and self._executor.device == "cpu":
            note = counted(
                "runs-on-the-cpu",
                "The job asks for %(n)s GPU and there is none here: it runs on the CPU.",
                "The job asks for %(n)s GPUs and there is none here: it runs on the CPU.",
                n=job.gpus,
            )
            self._journal.append([Event.note(note)])

    def _obey_before_start(self) -> None:
        """There is nothing to save yet."""
        if self._lease.stop.is_set():
            raise Stopped
        if self._lease.wish is Wish.CANCEL:
            raise AttemptError(
                ErrorKind.CANCELLED, Sentence("stopped-before-stage", "Stopped on request before the stage began.")
            )
        if self._lease.wish is Wish.PAUSE:
            raise Paused

    # ------------------------------------------------------------ the stage runs

    def _follow(self) -> StageResult:
        """Carry events until the stage is over; its result, or what ended it."""
        try:
            while not self._executor.over(TICK_SECONDS):
                self._carry(TICK_SECONDS)
                self._obey()
            self._carry(LAST_EVENTS_SECONDS)
        except AttemptError as error:
            if error.kind is ErrorKind.DATABASE:
                self._save_unasked()
            raise
        return self._executor.result()

    def _carry(self, seconds: float) -> None:
        """What the stage has said since, to the database first and then to the mirrors."""
        batch = self._executor.take(seconds)
        self._journal.forward(batch)
        self._mirrors.metrics(batch.progress)

    def _obey(self) -> None:
        """Pass a wish on; raise once the stage has had its time."""
        if self._lease.stop.is_set():
            if not self._can_save() or self._ask(Wish.PAUSE, STOP_SECONDS):
                raise Stopped
        elif self._lease.wish is Wish.CANCEL:
            if self._ask(Wish.CANCEL, CANCEL_SECONDS):
                cause = Sentence(
                    "stage-did-not-stop",
                    "The stage did not stop within %(cancel_seconds)s s; it was ended.",
                    cancel_seconds=f"{CANCEL_SECONDS:.0f}",
                )
                raise AttemptError(ErrorKind.CANCELLED, cause)
        elif self._lease.wish is Wish.PAUSE:
            self._ask(Wish.PAUSE, math.inf)

    def _ask(self, wish: Wish, patience: float) -> bool:
        """Ask the stage once; whether it has let `patience` seconds pass since."""
        if wish is not self._asked:
            self._asked, self._asked_at = wish, time.monotonic()
            self._executor.ask(wish)
        return time.monotonic() - self._asked_at > patience

    def _can_save(self) -> bool:
        return self._saves and self._journal.running

    def _save_unasked(self) -> None:
        """Postgres stayed away: let the stage save what it has. The next attempt finds it without being told."""
        if not self._can_save():
            return
        log.warning("Postgres stayed away; the stage is asked to save a checkpoint and to stop.")
        while not self._ask(Wish.PAUSE, STOP_SECONDS if self._lease.stop.is_set() else LAST_SAVE_SECONDS):
            if self._executor.over(TICK_SECONDS):
                log.info("The stage has stopped.")
                return

    # ------------------------------------------------------------ the end

    def _commit(self, session: Session, resolved: Resolved, published: Published, result: StageResult) -> None:
        """Everything at once, unless a commit whose answer was lost has done so."""
        if not job_store.is_committed(session, self._lease.job_id, self._lease.epoch):
            commit(session, self._folders, resolved, published, result)
            crash_point("inside_commit")
