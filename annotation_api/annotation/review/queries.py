"""What is asked of the tables about answers under review."""

from __future__ import annotations

import math
import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSONPATH, distinct_on
from sqlalchemy.orm import Session, aliased

from annotation_api.annotation.review.schemas import AnswerFilter, Reviewed
from annotation_api.db import sql
from annotation_api.db.snapshots import decided
from annotation_api.db.tables import (
    Assignment,
    AssignmentState,
    Comment,
    Draft,
    FeedbackKind,
    Person,
    PersonStanding,
    PromptRow,
    Review,
    ReviewOutcome,
    Submission,
    Task,
    TaskDecision,
)

FLAGGED = cast("$.flags.*[*] ? (@ == $flag)", JSONPATH)
HAS_FLAGS = literal_column("submissions.payload ? 'flags'", Boolean)  # as the indexes of such answers say it
HAS_NOTE = literal_column("submissions.payload ? 'note'", Boolean)
COMPARED = 1000  # tasks
later = aliased(Submission)
CURRENT = ~exists().where(later.supersedes == Submission.id) & Submission.erased_at.is_(None)


def answers(project_id: uuid.UUID, wanted: AnswerFilter) -> Select[Submission]:
    """The answers of a project as they stand now, those that are wanted."""
    query = (
        select(Submission)
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .where(Submission.project_id == project_id, CURRENT)
    )
    if wanted.annotator:
        who = select(Person.id).where(Person.pseudonym == wanted.annotator).scalar_subquery()
        query = query.where(Submission.person_id == who)  # read off the person's own list
    if wanted.prompt:
        query = query.join(PromptRow, PromptRow.id == Task.prompt_id)
        query = query.where(*sql.holds(PromptRow.record, wanted.prompt))
    return query.where(*_of_answer(wanted))


def _of_answer(wanted: AnswerFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.flag is not None:
        flag = func.jsonb_build_object("flag", wanted.flag)
        yield HAS_FLAGS
        yield func.jsonb_path_exists(Submission.payload, FLAGGED, flag)
    if wanted.noted:
        yield HAS_NOTE
    if wanted.faster is not None:
        yield Submission.active_ms < math.ceil(_milliseconds(wanted.faster))
    if wanted.slower is not None:
        yield Submission.active_ms > math.floor(_milliseconds(wanted.slower))
    if wanted.since is not None:
        yield Submission.created_at >= wanted.since
    if wanted.until is not None:
        yield Submission.created_at < wanted.until
    if wanted.disagrees:
        yield _contradicted()
    if wanted.reviewed is not None:
        yield _reviewed(wanted.reviewed)


def _milliseconds(seconds: float) -> float:
    """No more than a column holds; they are rounded to whole ones, since the index knows no others."""
    return min(1000 * seconds, 2**31 - 1)


# Whether an answer names a side of a pair, as `Question.names_a_side` says it. Which questions do depends on no
# answer: Postgres looks them up once for all.
SIDED = """value IN ('"first"', '"second"') AND (tasks.form_id, key) IN (
    SELECT forms.id, question ->> 'id' FROM forms, jsonb_array_elements(forms.spec -> 'questions') AS question
    WHERE question -> 'options' @> '[{{"id": "first"}}, {{"id": "second"}}]'
        AND NOT question -> 'options' @> '[{{"id": "third"}}]'
)"""
# The answer itself, without flags, notes and the like: those who tie the same tie them in any order, and an answer
# that names a side of a pair is turned to the order of the ids.
SAID = f"""coalesce(
    (SELECT jsonb_agg((SELECT jsonb_agg(key ORDER BY key) FROM jsonb_array_elements_text(tied) key) ORDER BY place)
        FROM jsonb_array_elements({{payload}} -> 'groups') WITH ORDINALITY AS groups (tied, place)),
    CASE WHEN jsonb_array_length({{shown}}) = 2 AND {{shown}} ->> 0 > {{shown}} ->> 1 THEN
        (SELECT jsonb_object_agg(key, CASE WHEN NOT ({SIDED}) THEN value WHEN value = '"first"' THEN '"second"'
            ELSE '"first"' END) FROM jsonb_each({{payload}} -> 'answers'))
    END,
    {{payload}} -> 'answers', {{payload}} -> 'verdicts'
)"""
_IS_SAID: ColumnElement[Any] = literal_column(
    SAID.format(payload="submissions.payload", shown="assignments.display_order")
)
_OTHER_IS_SAID: ColumnElement[Any] = literal_column(SAID.format(payload="other.payload", shown="place.display_order"))


def _is_the_same(other: type[Submission], place: type[Assignment]) -> ColumnElement[bool]:
    """Word for word, and no side of a pair is named: most of those who agree, of whom no more need be asked."""
    turned = (Submission.kind == FeedbackKind.QUESTIONS) & (place.display_order != Assignment.display_order)
    return (other.payload == Submission.payload) & ~turned


def _contradicted() -> ColumnElement[bool]:
    """Somebody else said otherwise of the same task."""
    other, place, newer = aliased(Submission, name="other"), aliased(Assignment, name="place"), aliased(Submission)
    return (
        select(other.id)
        .join(place, place.id == other.assignment_id)
        .where(
            place.task_id == Assignment.task_id,
            place.person_id != Assignment.person_id,
            ~exists().where(newer.supersedes == other.id),
            other.erased_at.is_(None),
            case((_is_the_same(other, place), False), else_=_OTHER_IS_SAID != _IS_SAID),
        )
        .exists()
    )


def _reviewed(state: Reviewed) -> ColumnElement[bool]:
    newest = (
        select(Review.outcome)
        .where(Review.submission_id == Submission.id)
        .order_by(Review.created_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    if state is Reviewed.OPEN:
        return newest.is_(None)
    outcome = ReviewOutcome(state.value)
    ever = select(Review.submission_id).where(Review.outcome == outcome)  # few: the others are not looked at
    return Submission.id.in_(ever) & (newest == outcome)


def of_task(session: Session, task_id: uuid.UUID) -> Sequence[Submission]:
    """The answers to a task as they stand, oldest first."""
    query = select(Submission).join(Assignment, Assignment.id == Submission.assignment_id)
    return session.scalars(query.where(Assignment.task_id == task_id, CURRENT).order_by(Submission.seq)).all()


def in_project(session: Session, project_id: uuid.UUID, submission_id: uuid.UUID) -> Submission | None:
    query = select(Submission).join(Assignment, Assignment.id == Submission.assignment_id)
    query = query.join(Task, Task.id == Assignment.task_id)
    return session.scalar(query.where(Submission.id == submission_id, Task.project_id == project_id))


def contexts(session: Session, assignment_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Any]:
    """(assignment, person, whether paused, number of comments, whether the task is gold) by assignment."""
    comments = select(func.count()).where(Comment.assignment_id == Assignment.id).scalar_subquery()
    stands = and_(PersonStanding.project_id == Task.project_id, PersonStanding.person_id == Assignment.person_id)
    found = session.execute(
        select(Assignment, Person, func.coalesce(PersonStanding.paused_at.is_not(None), False), comments, Task.gold)
        .join(Person, Person.id == Assignment.person_id)
        .join(Task, Task.id == Assignment.task_id)
        .outerjoin(PersonStanding, stands)
        .where(Assignment.id.in_(assignment_ids))
    )
    return {assignment.id: (assignment, *rest) for assignment, *rest in found}


def newest_reviews(session: Session, submission_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, tuple[Review, str]]:
    """The newest word on each, with the reviewer's pseudonym."""
    found = session.execute(
        select(Review, Person.pseudonym)
        .join(Person, Person.id == Review.reviewer_id)
        .where(Review.submission_id.in_(submission_ids))
        .order_by(Review.submission_id, Review.created_at.desc())
        .ext(distinct_on(Review.submission_id))
    )
    return {review.submission_id: (review, pseudonym) for review, pseudonym in found}


def drafts(session: Session, task_id: uuid.UUID) -> Sequence[Any]:
    """(draft, pseudonym) of those who have the task in hand."""
    return session.execute(
        select(Draft, Person.pseudonym)
        .join(Assignment, Assignment.id == Draft.assignment_id)
        .join(Person, Person.id == Assignment.person_id)
        .where(Assignment.task_id == task_id, Assignment.state == AssignmentState.LEASED)
        .order_by(Person.pseudonym)
    ).all()


def decision_of(session: Session, task_id: uuid.UUID) -> tuple[TaskDecision, str] | None:
    """The decision that stands, with the reviewer's pseudonym."""
    row = session.execute(
        select(TaskDecision, Person.pseudonym)
        .join(Person, Person.id == TaskDecision.reviewer_id)
        .where(TaskDecision.task_id == task_id, decided.stands())
    ).one_or_none()
    return (row[0], row[1]) if row else None


def last_decision(session: Session, task_id: uuid.UUID) -> uuid.UUID | None:
    """The one that the next replaces, whether it stands or was erased: a task's decisions are one chain."""
    return session.scalar(select(TaskDecision.id).where(TaskDecision.task_id == task_id, decided.is_last()))


_several = select(Task).where(Task.project_id == bindparam("project"), Task.judged >= 2, ~Task.gold)
_NEWEST = _several.order_by(Task.created_at.desc(), Task.id.desc()).limit(COMPARED).subquery()


def compared(session: Session, project_id: uuid.UUID) -> Sequence[Any]:
    """(task, kind, form, prompt's record, [(payload, order shown)]) of the newest tasks with two answers or more that
    nobody decided."""
    given = func.jsonb_agg(func.jsonb_build_array(Submission.payload, Assignment.display_order))
    known = exists().where(TaskDecision.task_id == _NEWEST.c.id, decided.stands())
    return session.execute(
        select(_NEWEST.c.id, _NEWEST.c.kind, _NEWEST.c.form_id, PromptRow.record, given)
        .join(PromptRow, PromptRow.id == _NEWEST.c.prompt_id)
        .join(Assignment, Assignment.task_id == _NEWEST.c.id)
        .join(Submission, Submission.assignment_id == Assignment.id)
        .where(CURRENT, ~known)
        .group_by(_NEWEST.c.id, _NEWEST.c.kind, _NEWEST.c.form_id, PromptRow.id),
        {"project": project_id},
    ).all()


def is_superseded(session: Session, submission_id: uuid.UUID) -> bool:
    return session.scalar(select(Submission.id).where(Submission.supersedes == submission_id)) is not None
