"""Why a launcher died without a word, and what that means for its job."""

from __future__ import annotations

import signal

from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from workers.attempt.lease import EXIT_AWAY

HEAD_LOST = "Failed to connect to GCS"  # Ray's words in the log of a process that it ends
BY_ITSELF = "It is tried again by itself"


def examine(pid: int, epoch: int, code: int | None, head_lost: bool, log: str) -> tuple[Failure, Again]:
    """The failure of the attempt that process `pid` ran; `code` is how it ended, where that is known."""
    if code == EXIT_AWAY:
        cause = f"Postgres stayed away for longer than attempt {epoch} could wait."
        step = f"{BY_ITSELF}, from the newest checkpoint."
        return Failure(ErrorKind.DATABASE, cause, step, log=log), Again.INTERRUPTED
    if head_lost or HEAD_LOST in log:
        cause = f"Attempt {epoch} lost the head of its Ray cluster."
        step = f"{BY_ITSELF} when the head is back."
        return Failure(ErrorKind.CLUSTER, cause, step, log=log), Again.INTERRUPTED
    cause = f"Process {pid}, which ran attempt {epoch}, died{_how(code)}."
    step = f"{BY_ITSELF}; if it keeps dying, look at the end of its log."
    return Failure(ErrorKind.CRASH, cause, step, log=log), Again.CRASH


def _how(code: int | None) -> str:
    if code is None:
        return ""
    return f" of {signal.Signals(-code).name}" if code < 0 else f" with exit code {code}"
