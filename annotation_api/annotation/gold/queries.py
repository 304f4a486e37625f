"""What is asked of the tables about gold items, answers to them, and who is let in or paused."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from alignment.shared.sentence import packed
from annotation_api.db import places
from annotation_api.db.membership import SPOKEN
from annotation_api.db.sql import one_row, rows
from annotation_api.db.tables import GoldAnswer, GoldItem, GoldUse, Person, PersonStanding, QualityRules, Task
from annotation_api.http.auth import Someone

# An item that the person never had; one of the qualification set also comes again after a lease that ran out.
# What a person made is nothing to ask that person. In a random order for mixed items, in the order made at the entry.
FIND = f"""
SELECT g.task_id FROM gold_items g JOIN tasks t ON t.id = g.task_id
WHERE g.project_id = %(project)s AND g.use = %(use)s AND g.withdrawn_at IS NULL AND g.made_by <> %(person)s
    AND {SPOKEN}
    AND NOT EXISTS (
        SELECT FROM assignments a
        WHERE a.task_id = g.task_id AND a.person_id = %(person)s AND (a.state <> 'expired' OR g.use = 'mixed')
    )
ORDER BY CASE WHEN g.use = 'mixed' THEN random() END, g.created_at, g.task_id LIMIT 1
"""

ADD = """
INSERT INTO gold_answers (submission_id, task_id, project_id, person_id, correct)
VALUES (%(submission)s, %(task)s, %(project)s, %(person)s, %(correct)s)
ON CONFLICT DO NOTHING RETURNING submission_id
"""

# What counts for the bar: items that stand, asked blind, since the person was last let in.
COUNTS = """
SELECT count(*) FILTER (WHERE answer.correct) AS correct, count(*) FILTER (WHERE NOT answer.correct) AS wrong
FROM gold_answers answer JOIN gold_items item ON item.task_id = answer.task_id
LEFT JOIN standings s ON s.project_id = answer.project_id AND s.person_id = answer.person_id
WHERE answer.project_id = %(project)s AND answer.person_id = %(person)s
    AND item.use = 'mixed' AND item.withdrawn_at IS NULL
    AND (s.trusted_from IS NULL OR answer.created_at > s.trusted_from)
"""

# The qualification set, and how much of it the person has right, has left, and has in hand.
ENTRY = """
SELECT count(*) AS items, count(*) FILTER (WHERE answer.correct) AS correct,
    count(*) FILTER (WHERE NOT EXISTS (
        SELECT FROM assignments a
        WHERE a.task_id = g.task_id AND a.person_id = %(person)s AND a.state IN ('submitted', 'skipped')
    )) AS open
FROM gold_items g
LEFT JOIN gold_answers answer ON answer.task_id = g.task_id AND answer.person_id = %(person)s
WHERE g.project_id = %(project)s AND g.use = 'entry' AND g.withdrawn_at IS NULL AND g.made_by <> %(person)s
"""

LET_IN = """
INSERT INTO standings (project_id, person_id, entered_at) VALUES (%(project)s, %(person)s, now())
ON CONFLICT (project_id, person_id) DO UPDATE SET entered_at = now()
"""

PAUSE = """
INSERT INTO standings (project_id, person_id, paused_at, paused_by, reason)
VALUES (%(project)s, %(person)s, now(), %(by)s, %(reason)s)
ON CONFLICT (project_id, person_id) DO UPDATE
SET paused_at = now(), paused_by = EXCLUDED.paused_by, reason = EXCLUDED.reason
RETURNING person_id
"""


def find_item(
    session: Session, person: Someone, project_id: uuid.UUID, use: GoldUse, languages: Collection[str] | None = None
) -> uuid.UUID | None:
    """The task of an item that the person may be asked now, in one of these languages if any are given."""
    values = {"project": project_id, "person": person.id, "use": use.value, "languages": languages}
    row = one_row(session, FIND, **values)
    return row.task_id if row else None


def add_answer(session: Session, submission: uuid.UUID, item: GoldItem, person_id: uuid.UUID, *, correct: bool) -> bool:
    """Note a first answer; False if the person had answered the item before."""
    values = {"submission": submission, "task": item.task_id, "project": item.project_id, "person": person_id}
    return bool(rows(session, ADD, **values, correct=correct))


def counts(session: Session, project_id: uuid.UUID, person_id: uuid.UUID) -> Any:
    """(correct, wrong) of the answers that count for the bar."""
    return one_row(session, COUNTS, project=project_id, person=person_id)


def entry(session: Session, project_id: uuid.UUID, person_id: uuid.UUID) -> Any:
    """(items, correct, open) of the qualification set."""
    return one_row(session, ENTRY, project=project_id, person=person_id)


def let_in(session: Session, project_id: uuid.UUID, person_id: uuid.UUID) -> None:
    rows(session, LET_IN + "RETURNING person_id", project=project_id, person=person_id)


def pause(session: Session, project_id: uuid.UUID, person_id: uuid.UUID, by: uuid.UUID | None, reason: str) -> int:
    """Pause the person, whose row is locked; returns how many tasks in hand went back."""
    rows(session, PAUSE, project=project_id, person=person_id, by=by, reason=packed(reason))
    return places.give_back_in(session, project_id, person_id)


def rules_of(session: Session, project_id: uuid.UUID) -> QualityRules:
    """The project's rules; those that screen nobody where none were set."""
    found = session.get(QualityRules, project_id)
    return found or QualityRules(project_id=project_id, gold_rate=0.0, bar=None, entry=None, names_shown=False)


def lock_rules(session: Session, project_id: uuid.UUID) -> QualityRules:
    """The project's rules, to change them: others who do wait until the transaction ends."""
    session.execute(insert(QualityRules).values(project_id=project_id).on_conflict_do_nothing())
    return session.get_one(QualityRules, project_id, with_for_update=True, populate_existing=True)


def items(session: Session, project_id: uuid.UUID) -> Sequence[GoldItem]:
    """Newest first."""
    query = select(GoldItem).where(GoldItem.project_id == project_id)
    return session.scalars(query.order_by(GoldItem.created_at.desc(), GoldItem.task_id)).all()


def task_in(session: Session, project_id: uuid.UUID, task_id: uuid.UUID) -> Task | None:
    return session.scalar(select(Task).where(Task.id == task_id, Task.project_id == project_id))


def results(session: Session, task_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[int, int]]:
    """(answers, correct ones) by item."""
    found = session.execute(
        select(GoldAnswer.task_id, func.count(), func.count().filter(GoldAnswer.correct))
        .where(GoldAnswer.task_id.in_(task_ids))
        .group_by(GoldAnswer.task_id)
    )
    return {task: (answers, correct) for task, answers, correct in found}


def pseudonyms(session: Session, people: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
    found = session.execute(select(Person.id, Person.pseudonym).where(Person.id.in_(people)))
    return {row.id: row.pseudonym for row in found}


def feedback(session: Session, submission_id: uuid.UUID) -> Any:
    """(correct, why) of an answer to the qualification set; None for any other."""
    return session.execute(
        select(GoldAnswer.correct, GoldItem.why)
        .join(GoldItem, GoldItem.task_id == GoldAnswer.task_id)
        .where(GoldAnswer.submission_id == submission_id, GoldItem.use == GoldUse.ENTRY)
    ).one_or_none()


def pauses(session: Session, person: Someone, projects: Collection[uuid.UUID]) -> dict[uuid.UUID, str | None]:
    """Those of the projects in which the person is paused, with the reason that is kept."""
    kept = select(PersonStanding.project_id, PersonStanding.reason).where(
        PersonStanding.person_id == person.id,
        PersonStanding.project_id.in_(projects),
        PersonStanding.paused_at.is_not(None),
    )
    return {row.project_id: row.reason for row in session.execute(kept)}


def standings(session: Session, project_id: uuid.UUID) -> Sequence[Any]:
    """(person, standing or None, answers to mixed items, correct ones) of everybody who is screened in the project."""
    answers = (
        select(
            GoldAnswer.person_id,
            func.count().label("answers"),
            func.count().filter(GoldAnswer.correct).label("correct"),
        )
        .join(GoldItem, GoldItem.task_id == GoldAnswer.task_id)
        .where(GoldAnswer.project_id == project_id, GoldItem.use == GoldUse.MIXED, GoldItem.withdrawn_at.is_(None))
        .group_by(GoldAnswer.person_id)
        .subquery()
    )
    joined = (PersonStanding.person_id == Person.id) & (PersonStanding.project_id == project_id)
    return session.execute(
        select(Person, PersonStanding, func.coalesce(answers.c.answers, 0), func.coalesce(answers.c.correct, 0))
        .outerjoin(PersonStanding, joined)
        .outerjoin(answers, answers.c.person_id == Person.id)
        .where(PersonStanding.person_id.is_not(None) | answers.c.person_id.is_not(None))
        .order_by(Person.pseudonym)
    ).all()


def has_item(session: Session, task_id: uuid.UUID) -> bool:
    return session.get(GoldItem, task_id) is not None
