"""What a launcher does between claim and commit: inputs, Ray, the stage, its events, its artifact."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import ray
from sqlalchemy.orm import Session

from alignment.events import ErrorKind, Progress, StageError, StageResult
from annotation_api.db import job_events, job_store
from annotation_api.db.job_events import Event
from annotation_api.db.tables import Job, JobState
from workers import cluster
from workers.actors import Batch, Runner, StageActor, Work
from workers.claims import Lease
from workers.commit import Published, commit, publish
from workers.pipeline import Resolved, pin, resolve
from workers.staging import Folders

TICK_SECONDS = 0.5  # how often events are carried, and a stop or a cancel is looked for
CANCEL_SECONDS = 60.0  # a stage that has not stopped by itself by then is ended
LOADING_SECONDS = 15.0  # an actor that takes longer to appear waits for its GPU
LAST_EVENTS_SECONDS = 60.0
ROWS_AT_ONCE = 500  # progress lines whose metrics go in one statement

Actor = Any  # a handle of actors.StageActor

log = logging.getLogger(__name__)


class Stopped(Exception):
    """This process was told to end; its job was not."""


class Attempt:
    """One attempt at a job. `run` raises Stopped, CancelRequested, LeaseLost, or what ended the stage."""

    def __init__(self, lease: Lease, folders: Folders, ray_address: str | None, runner: Runner) -> None:
        self._lease, self._folders, self._ray_address, self._runner = lease, folders, ray_address, runner
        self._stop = threading.Event()
        self._running = False
        self._device = "cpu"
        self._cancelled_at: float | None = None
        self._drain: Any = None  # asked of the actor and not answered yet

    def run(self) -> None:
        self._heed_signals()
        self._say("loading")
        job, resolved = self._prepare()
        inputs = resolved.inputs(self._pin)
        log.info("The inputs are there.")
        actor = self._start(job, inputs)
        result = self._follow(actor)
        self._mark_running()
        self._move(job_store.mark_committing, JobState.COMMITTING)
        published = publish(self._folders, job.config, result)
        self._lease.finish(lambda session: self._commit(session, resolved, published, result))
        log.info("Committed %s.", self._folders.artifact)

    # ------------------------------------------------------------ start

    def _heed_signals(self) -> None:
        """SIGTERM and SIGINT ask the attempt to end at its next tick."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())

    def _prepare(self) -> tuple[Job, Resolved]:
        self._folders.inputs.mkdir(parents=True)
        self._folders.out.mkdir()

        def find(session: Session) -> tuple[Job, Resolved]:
            job = session.get_one(Job, self._folders.job_id)
            return job, resolve(session, job, self._folders.inputs)

        return self._lease.write(find)

    def _pin(self, model: uuid.UUID, commit: str) -> str:
        return self._lease.write(lambda session: pin(session, model, commit))

    def _start(self, job: Job, inputs: dict[str, Any]) -> Actor:
        """The actor, placed and answering."""
        cluster.connect(self._ray_address, self._folders.ray)
        self._heed_signals()  # ray.init put its own in their place
        log.info("Ray is there.")
        placement = self._place(job.gpus)
        threads = os.environ.get("OMP_NUM_THREADS")
        work = Work(
            job.stage, job.config, inputs, self._folders.out, self._runner, threads=int(threads) if threads else None
        )
        actor = StageActor.options(num_cpus=1, num_gpus=placement.gpus).remote(work)
        self._await_place(actor, job.gpus, placement)
        self._device = placement.device
        if job.gpus and not placement.gpus:
            note = f"The job asks for {job.gpus:g} GPUs and there is none here: it runs on the CPU."
            self._append([Event.note(note, "warning")])
        return actor

    def _place(self, gpus: float) -> cluster.Placement:
        try:
            return cluster.place(gpus)
        except cluster.NeverFits:
            self._say("infeasible")
            raise

    def _await_place(self, actor: Actor, gpus: float, placement: cluster.Placement) -> None:
        """Wait until the actor answers, and say why it does not yet."""
        answer: Any = actor.where.remote()
        began = time.monotonic()
        while not ray.wait([answer], timeout=TICK_SECONDS)[0]:
            self._obey()
            self._place(gpus)  # a machine may have left the cluster
            late = placement.gpus and time.monotonic() - began > LOADING_SECONDS
            self._say("waiting_gpu" if placement.waits or late else "loading")
        log.info("The stage runs on %s, process %d.", *ray.get(answer))

    # ------------------------------------------------------------ the stage runs

    def _follow(self, actor: Actor) -> StageResult:
        """Carry events until the stage is over; its result, or what it raised."""
        running: Any = actor.run.remote()
        while not ray.wait([running], timeout=TICK_SECONDS)[0]:
            self._forward(self._take(actor, TICK_SECONDS))
            self._obey(actor)
        if self._drain is not None:
            self._forward(self._take(actor, LAST_EVENTS_SECONDS))
        self._forward(self._take(actor, LAST_EVENTS_SECONDS))
        result: StageResult = ray.get(running)
        log.info("The stage is over.")
        return result

    def _take(self, actor: Actor, patience: float) -> Batch:
        """What the stage has reported; nothing when it is too busy to answer, which the next call makes up for."""
        self._drain = self._drain if self._drain is not None else actor.drain.remote()
        if not ray.wait([self._drain], timeout=patience)[0]:
            return Batch()
        answered, self._drain = self._drain, None
        batch: Batch = ray.get(answered)
        return batch

    def _obey(self, actor: Actor | None = None) -> None:
        """Raise Stopped when this process must end; hand a cancel request on to the stage."""
        if self._stop.is_set():
            raise Stopped
        if not self._lease.cancel_requested.is_set():
            return
        if actor is None:
            raise StageError(ErrorKind.CANCELLED, "Stopped on request before the stage began.")
        if self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
            actor.cancel.remote()
        elif time.monotonic() - self._cancelled_at > CANCEL_SECONDS:
            raise StageError(
                ErrorKind.CANCELLED, f"The stage did not stop within {CANCEL_SECONDS:.0f} s; it was ended."
            )

    # ------------------------------------------------------------ what the database is told

    def _forward(self, batch: Batch) -> None:
        """All metrics, but of the progress lines only the newest of each phase."""
        if not batch:
            return
        if batch.progress:
            self._mark_running()
        events = [Event.note(message, level) for level, message in batch.notes]
        events += [Event.samples(step, rows) for step, rows in batch.samples]
        newest = {progress.phase: progress for progress in batch.progress}
        events += [Event.progress(progress, device=self._device) for progress in newest.values()]
        self._append(events, batch.progress)

    def _append(self, events: list[Event], progress: list[Progress] | None = None) -> None:
        job_id, epoch = self._lease.job_id, self._lease.epoch

        def action(session: Session) -> None:
            job_store.append_events(session, job_id, epoch, events)
            for part in _chunks(progress or [], ROWS_AT_ONCE):
                job_events.record_metrics(session, job_id, epoch, [Event.progress(line) for line in part])

        self._lease.write(action)

    def _say(self, reason: str) -> None:
        self._lease.write(
            lambda session: job_store.set_starting_reason(session, self._lease.job_id, self._lease.epoch, reason)
        )

    def _mark_running(self) -> None:
        if not self._running:
            self._move(job_store.mark_running, JobState.RUNNING)
            self._running = True

    def _move(self, mark: Callable[[Session, Any, int], None], state: JobState) -> None:
        """Change the job's state, unless a commit whose answer was lost has done so."""

        def action(session: Session) -> None:
            if session.get_one(Job, self._lease.job_id).state is not state:
                mark(session, self._lease.job_id, self._lease.epoch)

        self._lease.write(action)

    def _commit(self, session: Session, resolved: Resolved, published: Published, result: StageResult) -> None:
        """Everything at once, unless a commit whose answer was lost has done so."""
        if not job_store.is_committed(session, self._lease.job_id, self._lease.epoch):
            commit(session, self._folders, resolved, published, result)


def _chunks(lines: list[Progress], size: int) -> list[list[Progress]]:
    return [lines[start : start + size] for start in range(0, len(lines), size)]
