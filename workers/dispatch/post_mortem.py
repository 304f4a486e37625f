"""Why a launcher died without a word, and what that means for its job."""

from __future__ import annotations

import signal

from alignment.shared.sentence import Sentence
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from workers.attempt.lease import EXIT_AWAY
from workers.stage.faults import AGAIN_OR_LOG

HEAD_LOST = "Failed to connect to GCS"  # Ray's words in the log of a process that it ends
AGAIN_FROM = Sentence("again-from-checkpoint", "It is tried again by itself, from the newest checkpoint.")
AGAIN_WITH_HEAD = Sentence("again-with-head", "It is tried again by itself when the head is back.")


def examine(pid: int, epoch: int, code: int | None, head_lost: bool, log: str) -> tuple[Failure, Again]:
    """The failure of the attempt that process `pid` ran; `code` is how it ended, where that is known."""
    if code == EXIT_AWAY:
        cause = Sentence(
            "postgres-away-attempt", "Postgres stayed away for longer than attempt %(epoch)s could wait.", epoch=epoch
        )
        return Failure(ErrorKind.DATABASE, cause, AGAIN_FROM, log=log), Again.INTERRUPTED
    if head_lost or HEAD_LOST in log:
        cause = Sentence("head-lost-attempt", "Attempt %(epoch)s lost the head of its Ray cluster.", epoch=epoch)
        return Failure(ErrorKind.CLUSTER, cause, AGAIN_WITH_HEAD, log=log), Again.INTERRUPTED
    cause = Sentence(
        "process-died",
        "Process %(pid)s, which ran attempt %(epoch)s, died%(code)s.",
        pid=pid,
        epoch=epoch,
        code=_how(code),
    )
    return Failure(ErrorKind.CRASH, cause, AGAIN_OR_LOG, log=log), Again.CRASH


def _how(code: int | None) -> str:
    if code is None:
        return ""
    if code < 0:
        named = -code in signal.Signals.__members__.values()  # a real-time signal has a number alone
        return Sentence("of-signal", " of %(name)s", name=signal.Signals(-code).name if named else f"signal {-code}")
    return Sentence("with-exit-code", " with exit code %(code)s", code=code)
