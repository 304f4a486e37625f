"""Counts as they stand: the sums, with what was not folded yet, in one statement each."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from sqlalchemy.orm import Session

from annotation_api.db.sql import rows

PROGRESS = """
SELECT project_id, sum(tasks)::bigint AS tasks, sum(wanted)::bigint AS wanted, sum(judged)::bigint AS judged,
    sum(places)::bigint AS left, sum(open)::bigint AS open
FROM (
    SELECT project_id, tasks, wanted, judged, places, open FROM task_counts WHERE project_id = ANY(%(projects)s)
    UNION ALL
    SELECT project_id, tasks, wanted, judged, places, open FROM task_deltas WHERE project_id = ANY(%(projects)s)
) AS every GROUP BY project_id
"""
BY_FORM = """
SELECT form_id, sum(tasks)::bigint AS tasks FROM (
    SELECT form_id, tasks FROM task_counts WHERE project_id = %(project)s
    UNION ALL
    SELECT form_id, tasks FROM task_deltas WHERE project_id = %(project)s
) AS every GROUP BY form_id
"""
# First judgements and corrections, by project, person and day.
DAYS = """
    SELECT project_id, person_id, day, tasks, corrections FROM judged_days WHERE {which}
    UNION ALL
    SELECT project_id, person_id, day, first::int, 1 - first::int FROM pending_judgements WHERE {which}
"""
OF_PROJECT = DAYS.format(which="project_id = %(project)s")
OF_PERSON = DAYS.format(which="person_id = %(person)s")
BY_DAY = f"""
SELECT day, sum(tasks)::bigint AS tasks FROM ({OF_PROJECT}) AS every
GROUP BY day HAVING sum(tasks) > 0 ORDER BY day DESC LIMIT %(days)s
"""
BY_PERSON = f"""
SELECT p.pseudonym, p.name, coalesce(done.judged, 0) AS judged, coalesce(passed.skipped, 0) AS skipped
FROM (SELECT person_id, sum(tasks)::bigint AS judged FROM ({OF_PROJECT}) AS every GROUP BY person_id) AS done
FULL JOIN (
    SELECT a.person_id, count(*) AS skipped FROM assignments a JOIN tasks t ON t.id = a.task_id
    WHERE a.state = 'skipped' AND t.project_id = %(project)s GROUP BY a.person_id
) AS passed ON passed.person_id = done.person_id
JOIN people p ON p.id = coalesce(done.person_id, passed.person_id) ORDER BY p.pseudonym
"""
BY_PROJECT = f"""
SELECT project_id, sum(tasks)::bigint AS tasks FROM ({OF_PERSON}) AS every
GROUP BY project_id HAVING sum(tasks) > 0
"""
EVERYBODY = f"""
SELECT person_id, sum(tasks)::bigint AS tasks FROM ({DAYS.format(which="true")}) AS every GROUP BY person_id
"""


def progress_of(session: Session, projects: Collection[uuid.UUID]) -> dict[uuid.UUID, Any]:
    """Tasks, judgements wanted, judged and left, and tasks with a place left, by project."""
    return {row.project_id: row for row in rows(session, PROGRESS, projects=list(projects))}


def tasks_by_form(session: Session, project: uuid.UUID) -> dict[uuid.UUID, int]:
    """How many tasks were made with each version of the project's forms."""
    return {row.form_id: row.tasks for row in rows(session, BY_FORM, project=project)}


def progress_by_person(session: Session, project: uuid.UUID) -> Sequence[Any]:
    """(pseudonym, name, judged, skipped) of everybody who worked in the project."""
    return rows(session, BY_PERSON, project=project)


def judged_by_day(session: Session, project: uuid.UUID, days: int = 14) -> list[tuple[date, int]]:
    """(day in UTC, tasks first judged on it) of the last days with any, newest first."""
    return [(row.day, row.tasks) for row in rows(session, BY_DAY, project=project, days=days)]


def judged_by(session: Session, person: uuid.UUID) -> dict[uuid.UUID, int]:
    """How many tasks the person has judged, by project."""
    return {row.project_id: row.tasks for row in rows(session, BY_PROJECT, person=person)}


def judged_by_person(session: Session) -> dict[uuid.UUID, int]:
    """How many tasks each person has judged."""
    return {row.person_id: row.tasks for row in rows(session, EVERYBODY)}
