"""What an attempt tells the database, every word of it under its lease."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.events import SavedCheckpoint, StageProgress
from annotation_api.db.jobs import events as job_events
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.tables import Job, JobState
from workers.attempt.comparisons import add_evaluation
from workers.attempt.lease import JobLease
from workers.crashpoints import crash_point
from workers.executors.base import Waiting
from workers.stage.work import Batch

ROWS_AT_ONCE = 500  # progress lines whose metrics go in one statement


class Journal:
    """Every method may wait for Postgres. They raise LeaseLost, and StageError(DATABASE) after the grace."""

    def __init__(self, lease: JobLease) -> None:
        self._lease = lease
        self._said: Waiting | None = None
        self.running = False  # the stage has reported a step
        self.device = "cpu"

    def waiting(self, waiting: Waiting) -> None:
        """Why the stage has not begun, as often as it changes."""
        if waiting == self._said:
            return
        job_id, epoch = self._lease.job_id, self._lease.epoch
        self._lease.write(
            lambda session: job_store.set_starting_reason(session, job_id, epoch, waiting.reason, waiting.detail or "")
        )
        self._said = waiting

    def forward(self, batch: Batch) -> None:
        """All metrics, evaluations and checkpoints, but of the progress lines only the newest of each phase."""
        if not batch:
            return
        if batch.progress:
            self.mark_running()
        events = [Event.note(message, level) for level, message in batch.notes]
        events += [Event.samples(step, rows) for step, rows in batch.samples]
        newest = {progress.phase: progress for progress in batch.progress}
        events += [Event.progress(progress, device=self.device) for progress in newest.values()]
        if events:
            self.append(events, batch.progress)
        for update, rows in batch.evaluations:
            self.evaluation(update, rows)
        for saved in batch.checkpoints:
            self.record(saved)

    def append(self, events: Sequence[Event], progress: Sequence[StageProgress] = ()) -> None:
        job_id, epoch = self._lease.job_id, self._lease.epoch

        def action(session: Session) -> None:
            job_store.append_events(session, job_id, epoch, events)
            for start in range(0, len(progress), ROWS_AT_ONCE):
                lines = [Event.progress(line) for line in progress[start : start + ROWS_AT_ONCE]]
                job_events.record_metrics(session, job_id, epoch, lines)

        self._lease.write(action)

    def evaluation(self, update: int, rows: Sequence[Mapping[str, Any]]) -> None:
        job_id, epoch = self._lease.job_id, self._lease.epoch
        self._lease.write(lambda session: add_evaluation(session, job_id, epoch, update, rows))

    def record(self, saved: SavedCheckpoint) -> None:
        """Its name begins with the epoch here, since all attempts of a job share a folder."""
        job_id, epoch = self._lease.job_id, self._lease.epoch
        named = replace(saved, name=f"{epoch}/{saved.name}")
        crash_point("before_checkpoint_recorded")
        self._lease.write(lambda session: job_store.record_checkpoint(session, job_id, epoch, named))
        crash_point("after_checkpoint_recorded")

    def mark_running(self) -> None:
        if not self.running:
            self._move(job_store.mark_running, JobState.RUNNING)
            self.running = True

    def mark_committing(self) -> None:
        """Raises CancelRequested when somebody was faster."""
        self._move(job_store.mark_committing, JobState.COMMITTING)

    def _move(self, mark: Callable[[Session, Any, int], None], state: JobState) -> None:
        """Change the job's state, unless a commit whose answer was lost has done so."""

        def action(session: Session) -> None:
            if session.get_one(Job, self._lease.job_id).state is not state:
                mark(session, self._lease.job_id, self._lease.epoch)

        self._lease.write(action)
