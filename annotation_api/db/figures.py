"""The service in numbers, as /metrics shows them: a handful of statements over small tables and indexes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from annotation_api.db import dispatchers
from annotation_api.db.jobs.machine import WAITING_GPU

JOBS = "SELECT stage, state, count(*) FROM jobs GROUP BY stage, state"
OLDEST = """
SELECT stage, extract(epoch FROM clock_timestamp() - min(created_at))
FROM jobs WHERE state = 'queued' GROUP BY stage
"""
WAITING = """
SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp() - reason_since)), 0)
FROM jobs WHERE lease_until IS NOT NULL AND reason = :reason
"""
CLAIMS = "SELECT count(*), coalesce(sum(waited_seconds), 0) FROM job_attempts"
OUTCOMES = """
SELECT outcome, coalesce(error->>'kind', 'none'), count(*) FROM job_attempts
WHERE ended_at IS NOT NULL GROUP BY 1, 2
"""
# An attempt that took up a job whose attempt before had died.
RESCUES = """
SELECT count(*)
FROM job_attempts died JOIN job_attempts next ON next.job_id = died.job_id AND next.epoch = died.epoch + 1
WHERE died.ended_at IS NOT NULL AND (died.outcome = 'lost' OR died.outcome = 'queued' AND died.error->>'kind' = 'crash')
"""
# From the word that the result is whole to its rows, over the last hour.
COMMITS = """
SELECT coalesce(avg(seconds), 0), coalesce(max(seconds), 0) FROM (
    SELECT extract(epoch FROM jobs.finished_at - event.created_at) AS seconds
    FROM jobs JOIN job_events event ON event.job_id = jobs.id AND event.epoch = jobs.epoch
    WHERE jobs.state = 'succeeded' AND jobs.finished_at > clock_timestamp() - interval '1 hour'
    AND event.type = 'state' AND event.data->>'state' = 'committing'
) AS commits
"""
OPEN_TASKS = "SELECT count(*) FROM tasks WHERE judged < overlap"
SUBMISSIONS = "SELECT coalesce(max(seq), 0) FROM submissions"  # numbered by an identity: a count would read them all


@dataclass(frozen=True)
class Figures:
    jobs: Mapping[tuple[str, str], int]  # by stage and state
    oldest_queued: Mapping[str, float]  # seconds since the oldest queued job of a stage was made
    waiting_gpu: tuple[int, float]  # jobs that wait for a GPU now, and the longest wait in seconds
    claims: int
    waited_seconds: float  # for GPUs, over all attempts
    outcomes: Mapping[tuple[str, str], int]  # attempts that ended, by outcome and kind of error
    rescues: int
    commit_seconds: tuple[float, float]  # mean and longest of the last hour
    dispatchers: Mapping[str, tuple[int, int, int]]  # by what they know of Ray: how many, their slots, busy ones
    open_tasks: int
    submissions: int

    @property
    def lost(self) -> int:
        """Attempts whose lease ran out."""
        return sum(count for (outcome, _), count in self.outcomes.items() if outcome == "lost")


def read(session: Session) -> Figures:
    def rows(statement: str, **values: object) -> list[Any]:
        return list(session.execute(text(statement), values))

    waiting, claims, commits = rows(WAITING, reason=WAITING_GPU)[0], rows(CLAIMS)[0], rows(COMMITS)[0]
    return Figures(
        jobs={(stage, state): count for stage, state, count in rows(JOBS)},
        oldest_queued={stage: float(seconds) for stage, seconds in rows(OLDEST)},
        waiting_gpu=(waiting[0], float(waiting[1])),
        claims=claims[0],
        waited_seconds=float(claims[1]),
        outcomes={(outcome, kind): count for outcome, kind, count in rows(OUTCOMES)},
        rescues=rows(RESCUES)[0][0],
        commit_seconds=(float(commits[0]), float(commits[1])),
        dispatchers=_dispatchers(session),
        open_tasks=rows(OPEN_TASKS)[0][0],
        submissions=rows(SUBMISSIONS)[0][0],
    )


def _dispatchers(session: Session) -> dict[str, tuple[int, int, int]]:
    found: dict[str, tuple[int, int, int]] = {}
    for row in dispatchers.alive(session):
        count, slots, busy = found.get(row.ray.value, (0, 0, 0))
        found[row.ray.value] = (count + 1, slots + row.slots, busy + row.busy)
    return found
