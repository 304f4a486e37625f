"""What is asked of the tables about agreement."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from annotation_api.db.kinds import Slice
from annotation_api.db.sql import rows
from annotation_api.db.tables import AgreementSum, AgreementValue, FeedbackKind, PendingJudgement

NOTHING = 1e-6  # what rounding leaves of thirds that were taken away again; a coincidence is a share of a few people
MOST = 5000  # rows of a slice: of pairs of people, those who judged most together


def sums(session: Session, project: uuid.UUID, which: Slice) -> Sequence[AgreementSum]:
    """Those in which something is counted, by measure, subject and value; of very many those that rest on most."""
    query = select(AgreementSum).where(_counted(project, which))
    order = (AgreementSum.count.desc(), AgreementSum.measure, AgreementSum.subject, AgreementSum.value)
    found = session.scalars(query.order_by(*order).limit(MOST).execution_options(populate_existing=True))
    return sorted(found, key=lambda row: (row.measure, row.subject, row.value))


def left_out(session: Session, project: uuid.UUID, which: Slice) -> int:
    """How many rows of a slice `sums` does not tell."""
    return max(0, (session.scalar(select(func.count()).where(_counted(project, which))) or 0) - MOST)


def _counted(project: uuid.UUID, which: Slice) -> ColumnElement[bool]:
    return and_(AgreementSum.project_id == project, AgreementSum.slice == which, AgreementSum.count > 0)


def values(session: Session, project: uuid.UUID, which: Slice) -> Sequence[AgreementValue]:
    query = select(AgreementValue).where(
        AgreementValue.project_id == project, AgreementValue.slice == which, AgreementValue.times > NOTHING
    )
    order = (AgreementValue.subject, AgreementValue.value)
    return session.scalars(query.order_by(*order).execution_options(populate_existing=True)).all()


def waiting(session: Session, project: uuid.UUID) -> int:
    query = select(func.count()).select_from(PendingJudgement).where(PendingJudgement.project_id == project)
    return session.scalar(query) or 0


# Of the newest judgements, since those of one prompt come at different times.
NEWEST = """
SELECT DISTINCT t.prompt_id FROM (
    SELECT assignment_id FROM submissions WHERE project_id = %(project)s AND kind = %(kind)s
    ORDER BY seq DESC LIMIT %(judgements)s
) AS newest JOIN assignments a ON a.id = newest.assignment_id JOIN tasks t ON t.id = a.task_id LIMIT %(prompts)s
"""


def newest_prompts(session: Session, project: uuid.UUID, most: int) -> list[uuid.UUID]:
    """The prompts that were judged last, of each kind of task so many."""
    found: dict[uuid.UUID, None] = {}
    for kind in FeedbackKind:
        values = {"project": project, "kind": kind.value, "judgements": 4 * most, "prompts": most}
        found |= dict.fromkeys(row.prompt_id for row in rows(session, NEWEST, **values))
    return list(found)
