"""A job's metrics as few points as a chart needs, thinned where they lie.

Of each series, every bucket gives its least, its largest and its last value at their own steps: a spike of one step in
100,000 stays. A step that several attempts measured counts once, the latest. What was not finite is left out.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Collection

from sqlalchemy.orm import Session

from annotation_api.db import sql
from annotation_api.jobs.detail_schemas import Series

BUCKETS = 200  # of a series: 600 points at most

_THIN = """
WITH latest AS (
    SELECT DISTINCT ON (phase, name, step) phase, name, step, value FROM metrics
    WHERE job_id = %(job)s AND (%(names)s::text[] IS NULL OR name = ANY (%(names)s::text[]))
    ORDER BY phase, name, step, epoch DESC
),
numbered AS (
    SELECT *, (row_number() OVER (PARTITION BY phase, name ORDER BY step) - 1) * %(buckets)s
        / greatest(count(*) OVER (PARTITION BY phase, name), %(buckets)s) AS bucket
    FROM latest WHERE value IS NOT NULL
)
SELECT phase, name, min(value) AS low, max(value) AS high, max(step) AS last_step,
    (array_agg(step ORDER BY value, step))[1] AS low_step, (array_agg(step ORDER BY value DESC, step))[1] AS high_step,
    (array_agg(value ORDER BY step DESC))[1] AS last
FROM numbered GROUP BY phase, name, bucket ORDER BY phase, name, bucket
"""


def thin_series(
    session: Session, job: uuid.UUID, names: Collection[str] | None = None, buckets: int = BUCKETS
) -> list[Series]:
    """Every series of the job, or those of the named metrics."""
    found = sql.rows(session, _THIN, job=job, names=list(names) if names else None, buckets=buckets)
    series = []
    for (phase, name), rows in itertools.groupby(found, key=lambda row: (row.phase, row.name)):
        points: dict[int, float | None] = {}
        for row in rows:
            points |= {row.low_step: row.low, row.high_step: row.high, row.last_step: row.last}
        series.append(Series(phase=phase, name=name, points=sorted(points.items())))
    return series
