"""What `rankloop models check` says of a folder, for those who register it from a page.

The service never loads a model library, so the check is a process of its own, as on the command line: without the
service's secrets, one at a time, and for CHECK_SECONDS at most.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence, joined
from alignment.shared.validation import Problem
from annotation_api.http.errors import ApiError, invalid
from annotation_api.models import folders
from annotation_api.models.schemas import CheckedModel
from annotation_api.settings import Settings

CHECK_SECONDS = 90
SECRETS = ("RANKLOOP_", "PG")  # how variables begin that the check does not need
_one = threading.Lock()


def check(session: Session, path: str, settings: Settings) -> CheckedModel:
    """The folder's facts, and what is worth knowing of it. 422 with what is wrong with it, 429 while another runs.

    A hub id has no folder yet: it is looked at when a job first fetches it.
    """
    session.commit()  # the caller is known; a connection is not held for as long as a check takes
    found = folders.resolve(path, settings)
    if not Path(found).is_absolute():
        english = "It lies on the hub and is not here yet: it is checked when a job fetches it for the first time."
        return CheckedModel(path=found, facts={}, notes=[Sentence("lies-on-the-hub", english)])
    if not _one.acquire(blocking=False):
        detail = Sentence("check-busy", "Another model is being checked. Try again in a moment.")
        raise ApiError(429, "check-busy", detail, headers={"Retry-After": "10"})
    try:
        told = _run(found)
    finally:
        _one.release()
    facts = {name: joined(value) for name, value in told["facts"].items()}
    return CheckedModel(path=found, notes=[joined(note) for note in told["notes"]], facts=facts)


def _run(folder: str) -> dict[str, Any]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
    command = [sys.executable, "-m", "alignment", "check", folder, "--said"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_SECONDS, env=clean, check=False)
    except subprocess.TimeoutExpired:
        raise _unusable(
            folder,
            Sentence(
                "check-too-long",
                "The check took longer than %(check_seconds)s s; run `rankloop models check`.",
                check_seconds=CHECK_SECONDS,
            ),
        ) from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise _unusable(folder, said[-1] if said else Sentence("check-without-word", "The check ended without a word."))
    told: dict[str, Any] = json.loads(done.stdout)
    if "refused" in told:
        cause, next_step = map(joined, told["refused"])
        raise _unusable(folder, Sentence("cause-and-step", "%(cause)s %(next_step)s", cause=cause, next_step=next_step))
    return told


def _unusable(folder: str, message: str) -> ApiError:
    return invalid([Problem(pointer="/path", message=message, value=folder[:80])])
