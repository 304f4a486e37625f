"""Any exception of an attempt becomes a kind, a cause and a next step, and the answer to "again?"."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass

from ray import exceptions as ray_errors

from alignment.events import ErrorKind, StageError
from annotation_api.db.job_records import Again, Failure
from workers.actors import named_fault

# What the same attempt may survive next time, and whose fault it was.
AGAIN = {
    ErrorKind.CRASH: Again.CRASH,
    ErrorKind.CLUSTER: Again.INTERRUPTED,
    ErrorKind.DATABASE: Again.INTERRUPTED,
}
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # Ray writes for terminals
OUT_OF_MEMORY = "running low on memory"  # Ray's words when its memory monitor ended the actor


@dataclass(frozen=True)
class Fault:
    kind: ErrorKind
    cause: str
    next_step: str
    again: Again
    traceback: str | None = None

    def failure(self, log: str) -> Failure:
        """For the job's row; `log` is the end of the attempt's."""
        return Failure(self.kind, self.cause, self.next_step, self.traceback, log)


def fault_of(error: Exception) -> Fault:
    """Name what ended an attempt."""
    if isinstance(error, ray_errors.RayTaskError):
        return _of_stage(error)
    if named := named_fault(error):
        return Fault(named.kind, named.cause, named.next_step, AGAIN.get(named.kind, Again.NEVER))
    if isinstance(error, ray_errors.OutOfMemoryError) or OUT_OF_MEMORY in str(error):
        step = "Lower micro_batch_size or max_length, or use a smaller model."
        return Fault(
            ErrorKind.OUT_OF_MEMORY, "Ray ended the stage: the machine ran out of memory.", step, again=Again.NEVER
        )
    if isinstance(error, ray_errors.RayActorError):
        step = "It is tried again by itself; if it keeps dying, look at the end of its log."
        return Fault(
            ErrorKind.CRASH, "The process that ran the stage died.", step, again=Again.CRASH, traceback=str(error)
        )
    if isinstance(error, ray_errors.RayError):
        step = "Check that the Ray cluster is up."
        return Fault(
            ErrorKind.CLUSTER, f"Ray failed: {_first_line(error)}", step, again=Again.INTERRUPTED, traceback=str(error)
        )
    return _internal(error, "".join(traceback.format_exception(error)))


def _of_stage(error: ray_errors.RayTaskError) -> Fault:
    """What the stage raised, as it crossed from the actor to the launcher."""
    if isinstance(error.cause, StageError):
        return fault_of(error.cause)
    return _internal(error.cause, str(error))  # Ray's text holds the traceback of the other process


def _internal(error: BaseException, trace: str) -> Fault:
    cause = f"An unexpected {type(error).__name__}: {_first_line(error)}"
    plain = COLOUR.sub("", trace)
    return Fault(ErrorKind.INTERNAL, cause, "Report it with the traceback.", again=Again.NEVER, traceback=plain)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
