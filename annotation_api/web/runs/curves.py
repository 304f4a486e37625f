"""What the charts of a job's page show, and the JSON by which they grow while it runs."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.sentence import joined
from annotation_api.db import sql
from annotation_api.db.tables import Job
from annotation_api.http.dependencies import READS_RUNS, Db, allow
from annotation_api.http.entry.route import DoorRoute, as_json
from annotation_api.jobs import queries, service
from annotation_api.jobs.curves import ChartMark, Curves, five, grouped
from annotation_api.jobs.thinning import thin_series

router = APIRouter(route_class=DoorRoute)
MOST_MARKS = 200

# A warning is said beside the progress of its step.
_WARNINGS = """
SELECT note.data->>'message' AS text, note.data->'said' AS said, (
    SELECT (next.data->>'step')::int FROM job_events next
    WHERE next.job_id = note.job_id AND next.type = 'progress' AND next.seq > note.seq ORDER BY next.seq LIMIT 1
) AS step
FROM job_events note
WHERE note.job_id = %(job)s AND note.type = 'note' AND note.data->>'level' = 'warning'
ORDER BY note.seq LIMIT %(most)s
"""


@router.get("/jobs/{job_id}/curves", dependencies=[allow(*READS_RUNS)])
def job_curves(job_id: uuid.UUID, session: Db) -> Response:
    """The charts of the job as they stand now."""
    return as_json(curves_of(session, service.get(session, job_id)))


def curves_of(session: Session, job: Job) -> Curves:
    return Curves(groups=grouped(thin_series(session, job.id)), marks=marks_of(session, job))


def marks_of(session: Session, job: Job) -> list[ChartMark]:
    """Alarms, evaluations and the policy that was kept, by their steps."""
    alarms = ((job.result or {}).get("details") or {}).get("alarms")
    if alarms is not None:
        found = [
            ChartMark(step=each["update"], kind="alarm", text=joined(each.get("said")) or each["sentence"])
            for each in alarms
        ]
    else:
        rows = sql.rows(session, _WARNINGS, job=job.id, most=MOST_MARKS)
        found = [
            ChartMark(step=row.step, kind="alarm", text=joined(row.said) or row.text)
            for row in rows
            if row.step is not None
        ]
    for policy in queries.evaluated_policies(session, job.id):
        kind = "chosen" if policy.chosen else "evaluation"
        found.append(ChartMark(step=policy.step, kind=kind, text=str(policy.step)))
    return sorted(found, key=lambda mark: mark.step)


def shown(session: Session, job: Job) -> dict[str, Any]:
    """For the template: the groups, the alarms to be read, and the five numbers that matter."""
    curves = curves_of(session, job)
    result = (job.result or {}).get("metrics") or {}
    alarms = [mark for mark in curves.marks if mark.kind == "alarm"]
    first = five(job.stage, curves.groups, result)
    return {"groups": curves.groups, "alarms": alarms, "five": first, "nothing_held_out": _nothing_held_out(job)}


def _nothing_held_out(job: Job) -> bool:
    """A reward model whose accuracy on new prompts nothing can tell."""
    measured = (job.result or {}).get("metrics")
    missing = measured is not None and "heldout_accuracy" not in measured
    return job.stage is Stage.REWARD and (missing or job.config.get("heldout_fraction") == 0)
