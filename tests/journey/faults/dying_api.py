"""An API that is killed at the commit that makes a job, for the rows of the fault matrix about the API.

DIE=before_commit python -m tests.journey.faults.dying_api PORT
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import uvicorn
from sqlalchemy import event, text
from sqlalchemy.orm import Session


def watch(moment: str) -> None:
    """Die before or after the first commit in which there is a job that was not there."""

    def before(session: Any) -> None:
        session.info["a job"] = session.scalar(text("SELECT count(*) FROM jobs WHERE xmin = pg_current_xact_id()::xid"))
        die("before_commit", session)

    def die(now: str, session: Any) -> None:
        if now == moment and session.info.get("a job"):
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Session, "before_commit", before)
    event.listen(Session, "after_commit", lambda session: die("after_commit", session))


if __name__ == "__main__":
    watch(os.environ["DIE"])
    uvicorn.run("annotation_api.app:create_app", factory=True, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop")
