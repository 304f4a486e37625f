"""A job's events as server-sent events: resumable by number, ended by the job's end.

The database is asked twice a second, on a connection held only for the question.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence

from fastapi.sse import format_sse_event
from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool

from annotation_api.db.job_machine import ENDED
from annotation_api.db.tables import Job, JobEvent, JobState
from annotation_api.jobs import queries

POLL_SECONDS = 0.5
PING_SECONDS = 15.0
BATCH = 500


async def events(sessions: sessionmaker[Session], job: uuid.UUID, last: int) -> AsyncIterator[bytes]:
    """Every event after number `last`, as they come; then one event `end` with the job's state."""
    quiet_since = time.monotonic()
    while True:
        rows, state = await run_in_threadpool(_look, sessions, job, last)
        for row in rows:
            yield format_sse_event(id=str(row.seq), event=row.type, data_str=_json(row.data))
            last = row.seq
        if len(rows) == BATCH:
            continue
        if state in ENDED:
            yield format_sse_event(event="end", data_str=_json({"state": state.value}))
            return
        if rows:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > PING_SECONDS:
            yield format_sse_event(comment="still here")
            quiet_since = time.monotonic()
        await asyncio.sleep(POLL_SECONDS)


def _look(sessions: sessionmaker[Session], job: uuid.UUID, last: int) -> tuple[Sequence[JobEvent], JobState]:
    """The state is read before the events: a job that has ended then has no event still to come."""
    with sessions() as session:
        state = session.get_one(Job, job).state
        return queries.events_after(session, job, last, BATCH), state


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
