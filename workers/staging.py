"""Where an attempt keeps its files, and the sweeper that removes what dead attempts left.

`staging/<job>-<epoch>/` holds `inputs/` and `out/`; `out/` becomes `artifacts/<job>/<epoch>/` in one
rename. Readers trust rows only, so a folder of an attempt that never committed is nobody's.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_api import logs
from annotation_api.db.jobs.machine import LIVE
from annotation_api.db.tables import Job, JobState

LOG_LINES = 40  # of a failed attempt, kept on the job
ATTEMPT = re.compile(r"(?P<job>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-(?P<epoch>[0-9]+)")


@dataclass(frozen=True)
class Folders:
    """The files of one attempt."""

    home: Path
    job_id: uuid.UUID
    epoch: int

    @property
    def staging(self) -> Path:
        return self.home / "staging" / f"{self.job_id}-{self.epoch}"

    @property
    def inputs(self) -> Path:
        return self.staging / "inputs"

    @property
    def out(self) -> Path:
        return self.staging / "out"

    @property
    def artifact(self) -> Path:
        return self.home / "artifacts" / str(self.job_id) / str(self.epoch)

    @property
    def all_checkpoints(self) -> Path:
        """Of every attempt at the job."""
        return self.home / "checkpoints" / str(self.job_id)

    @property
    def checkpoints(self) -> Path:
        return self.all_checkpoints / str(self.epoch)

    @property
    def log(self) -> Path:
        return self.home / "logs" / f"{self.job_id}-{self.epoch}.log"

    @property
    def ray(self) -> Path:
        """A local Ray's sockets. Short: the path of a socket may have about 100 characters."""
        base = Path("/tmp") if os.name == "posix" else Path(tempfile.gettempdir())
        return base / f"rankloop-{os.getuid()}" / f"{str(self.job_id)[:8]}-{self.epoch}"

    def last_words(self) -> str:
        """The end of the log; empty where there is none."""
        if not self.log.exists():
            return ""
        with self.log.open(encoding="utf-8", errors="replace") as file:
            return "".join(logs.readable(line) for line in deque(file, maxlen=LOG_LINES))

    def discard(self) -> None:
        """Remove what is of use only while the attempt runs."""
        shutil.rmtree(self.staging, ignore_errors=True)
        shutil.rmtree(self.ray, ignore_errors=True)


def sweep(session: Session, home: Path) -> int:
    """Remove the files of attempts that ended without a commit; the number of attempts swept.

    Attempts of jobs that this database does not know are left alone: they may be another's.
    """
    found = list(_attempts(home))
    rows = select(Job.id, Job.state, Job.epoch).where(Job.id.in_({folders.job_id for folders in found}))
    jobs = {job_id: (state, epoch) for job_id, state, epoch in session.execute(rows)}
    dead = [folders for folders in found if folders.job_id in jobs and _is_dead(folders, *jobs[folders.job_id])]
    for folders in dead:
        folders.discard()
        state, epoch = jobs[folders.job_id]
        if (state, epoch) != (JobState.SUCCEEDED, folders.epoch):
            shutil.rmtree(folders.artifact, ignore_errors=True)
    return len(dead)


def _is_dead(folders: Folders, state: JobState, epoch: int) -> bool:
    """Whether files of this attempt may go: a newer one was claimed, or none is at work."""
    if folders.epoch < epoch:
        return True
    at_rest = state not in LIVE and folders.epoch == epoch
    return at_rest and (state is not JobState.SUCCEEDED or folders.staging.exists())


def _attempts(home: Path) -> Iterator[Folders]:
    """Every attempt that has a staging or an artifact folder."""
    names = {path.name for path in (home / "staging").glob("*")}
    names |= {f"{path.parent.name}-{path.name}" for path in (home / "artifacts").glob("*/*")}
    for match in filter(None, map(ATTEMPT.fullmatch, sorted(names))):
        yield Folders(home, uuid.UUID(match["job"]), int(match["epoch"]))
