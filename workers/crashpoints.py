"""Places where a test may have a process die: at an exact line, as by SIGKILL, which no cleaning up survives.

    RANKLOOP_CRASH_POINT=after_claim            at every pass
    RANKLOOP_CRASH_POINT='*:0.02'               at any place, at each with that probability

Without the variable a crash point does nothing.
"""

from __future__ import annotations

import os
import random
import signal
from fnmatch import fnmatchcase

VARIABLE = "RANKLOOP_CRASH_POINT"
POINTS = (
    # the dispatcher
    "before_claim",
    "after_claim",
    "before_spawn",
    "after_spawn",
    # the launcher
    "after_inputs",
    "stage_started",
    "before_checkpoint_recorded",
    "after_checkpoint_recorded",
    "stage_over",
    "staging_written",
    "staging_fsynced",
    "manifest_written",
    "folder_renamed",
    "before_commit",
    "inside_commit",
    "after_commit",
)


def crash_point(name: str) -> None:
    """End this process here if the environment says so. Raises ValueError for a name that there is not."""
    if name not in POINTS:
        raise ValueError(f"{name} is no crash point; there are {', '.join(POINTS)}")
    asked = os.environ.get(VARIABLE)
    if not asked:
        return
    pattern, _, probability = asked.partition(":")
    if not any(fnmatchcase(point, pattern) for point in POINTS):
        raise ValueError(f"{VARIABLE}={asked} names no crash point; there are {', '.join(POINTS)}")
    if fnmatchcase(name, pattern) and random.random() < float(probability or 1):
        os.write(2, f"crash point {name}\n".encode())  # the last words, past every buffer
        os.kill(os.getpid(), signal.SIGKILL)
