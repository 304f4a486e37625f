"""Hours at work: by person, day and project, idle time taken out.

What a page measured as time at work (in view and in use) counts, corrections and gold items, too. Answers that came
without a time, as those of programs do, are counted apart. Days are UTC.
"""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Sequence
from datetime import date
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from annotation_api.annotation.gold.service import shows_names
from annotation_api.annotation.signals.cost import SpeedQuarter, what_speed_costs
from annotation_api.annotation.signals.service import everything
from annotation_api.db.sql import rows
from annotation_api.db.tables import Person
from annotation_api.disarmed import disarm

# Of all that fell into a day: the sum; per task: median and quartiles of the first answers.
BY_DAY = """
SELECT date(timezone('UTC', s.created_at)) AS day, p.id AS person, p.pseudonym AS annotator, p.name,
    count(*) FILTER (WHERE s.supersedes IS NULL) AS tasks,
    count(s.supersedes) AS corrections,
    count(*) FILTER (WHERE s.active_ms IS NULL) AS untimed,
    coalesce(sum(s.active_ms), 0) / 1000.0 AS seconds,
    percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY s.active_ms / 1000.0)
        FILTER (WHERE s.supersedes IS NULL) AS spread
FROM submissions s
JOIN people p ON p.id = s.person_id
WHERE s.project_id = %(project)s AND s.created_at >= %(since)s AND s.created_at < %(until)s::date + 1
GROUP BY 1, 2
ORDER BY 1 DESC, 3
"""
COLUMNS = ("day", "annotator", "name", "tasks", "corrections", "untimed", "seconds", "low", "median", "high")


class WorkDay(BaseModel):
    """A person's day in a project."""

    day: date
    annotator: str
    name: str | None = Field(description="For admins, and for reviewers where an admin shows names.")
    tasks: int = Field(description="First answers.")
    corrections: int
    untimed: int = Field(description="Answers that came without a time; they add nothing to the hours.")
    seconds: float = Field(description="At work, idle time taken out.")
    low: float | None = Field(description="First quartile of the seconds a task took.")
    median: float | None
    high: float | None = Field(description="Third quartile.")


class Hours(BaseModel):
    since: date
    until: date
    seconds: float = Field(description="Of all together.")
    items: list[WorkDay] = Field(description="Newest day first.")
    speed: list[SpeedQuarter] = Field(
        description="What speed costs: everybody's newest rankings in four quarters, the fastest first; empty for few."
    )


def hours(session: Session, viewer: Person, project_id: uuid.UUID, since: date, until: date) -> Hours:
    """From `since` to `until`, both included."""
    tells = shows_names(session, viewer, project_id)
    found = rows(session, BY_DAY, project=project_id, since=since, until=until)
    items = [_day(row, tells=tells) for row in found]
    seconds, speed = sum(item.seconds for item in items), what_speed_costs(everything(session, project_id))
    return Hours(since=since, until=until, seconds=seconds, items=items, speed=speed)


def _day(row: Any, *, tells: bool) -> WorkDay:
    low, median, high = row.spread or (None, None, None)
    return WorkDay(
        day=row.day,
        annotator=row.annotator,
        name=row.name if tells else None,
        tasks=row.tasks,
        corrections=row.corrections,
        untimed=row.untimed,
        seconds=float(row.seconds),
        low=low,
        median=median,
        high=high,
    )


def as_csv(items: Sequence[WorkDay]) -> str:
    """A table that a spreadsheet opens. A name that begins like a formula is kept from being one."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for item in items:
        writer.writerow(
            [disarm(value) if isinstance(value := getattr(item, column), str) else value for column in COLUMNS]
        )
    return text.getvalue()
