"""Review: answers read with what their annotators saw, approved or sent back, and tasks decided.

A decision is an answer of its own, beside the votes and never one of them: it takes no place, and it counts where a
snapshot says so (`db.snapshots.judged_rows`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func
from sqlalchemy.orm import Session

from alignment.shared.records import canonical_json, sha256_text
from alignment.shared.sentence import Sentence
from annotation_api.annotation.gold.service import find_task, shows_names
from annotation_api.annotation.review import queries, threads
from annotation_api.annotation.review.disputes import disagreement
from annotation_api.annotation.review.schemas import (
    PAYLOADS,
    AnswerOut,
    DecisionOut,
    Disputed,
    DisputedTask,
    DraftOut,
    NewDecision,
    NewReview,
    ReviewOut,
    TaskReview,
)
from annotation_api.annotation.submissions.checks import problems_of
from annotation_api.annotation.tasks.contents import Content, content_of, contents_of
from annotation_api.annotation.tasks.queries import lock_task, refuse_erased
from annotation_api.annotation.tasks.schemas import ShownResponse
from annotation_api.db.form_rows import read_forms
from annotation_api.db.tables import Assignment, Person, Review, Submission, TaskDecision
from annotation_api.db.tallies.sides import in_order, sided
from annotation_api.http.errors import ApiError, from_validation, invalid, not_found

MOST_DISPUTED = 50


def find_answer(session: Session, project_id: uuid.UUID, submission_id: uuid.UUID) -> Submission:
    found = queries.in_project(session, project_id, submission_id)
    if found is None:
        raise not_found("answer in this project", submission_id)
    return found


def show_answers(
    session: Session, viewer: Person, project_id: uuid.UUID, rows: Sequence[Submission]
) -> list[AnswerOut]:
    tells = shows_names(session, viewer, project_id)
    contexts = queries.contexts(session, {row.assignment_id for row in rows})
    reviews = queries.newest_reviews(session, {row.id for row in rows})
    contents = contents_of(session, {assignment.task_id for assignment, *_ in contexts.values()})
    return [_answer(row, contexts[row.assignment_id], contents, reviews.get(row.id), tells=tells) for row in rows]


def _answer(
    row: Submission,
    context: Any,
    contents: Mapping[uuid.UUID, Content],
    review: tuple[Review, str] | None,
    *,
    tells: bool,
) -> AnswerOut:
    assignment, person, paused, comments, gold = context
    content = contents[assignment.task_id]
    return AnswerOut(
        id=row.id,
        task=assignment.task_id,
        assignment=assignment.id,
        annotator=person.pseudonym,
        name=person.name if tells else None,
        paused=paused,
        gold=gold,
        kind=row.kind,
        prompt=content.prompt,
        responses=_shown(content, assignment.display_order),
        payload=row.payload,
        corrected=row.supersedes is not None,
        active_ms=row.active_ms,
        total_ms=row.total_ms,
        created_at=row.created_at,
        review=_word(*review) if review else None,
        comments=comments,
    )


def _shown(content: Content, order: Sequence[Any]) -> list[ShownResponse]:
    return [ShownResponse(id=uuid.UUID(str(key)), text=content.texts[uuid.UUID(str(key))]) for key in order]


def _word(review: Review, reviewer: str) -> ReviewOut:
    return ReviewOut(outcome=review.outcome, reviewer=reviewer, created_at=review.created_at)


def show_task(session: Session, viewer: Person, project_id: uuid.UUID, task_id: uuid.UUID) -> TaskReview:
    """Side by side what everybody said of the task, drafts apart, and the decision."""
    task = find_task(session, project_id, task_id)
    content, rows = content_of(session, task.id), queries.of_task(session, task.id)
    answers, decision = show_answers(session, viewer, project_id, rows), queries.decision_of(session, task.id)
    return TaskReview(
        task=task.id,
        kind=content.kind,
        form=content.form,
        rules=content.rules,
        gold=task.gold,
        prompt=content.prompt,
        responses=_shown(content, list(content.texts)),
        disagreement=disagreement([_as_sampled(answer, content) for answer in answers]),
        answers=answers,
        drafts=[
            DraftOut(
                assignment=draft.assignment_id, annotator=whose, payload=draft.payload, updated_at=draft.updated_at
            )
            for draft, whose in queries.drafts(session, task.id)
        ],
        decision=show_decision(*decision) if decision else None,
    )


def _as_sampled(answer: AnswerOut, content: Content) -> Mapping[str, Any]:
    """What was said, as if the responses had stood in the order of sampling."""
    shown = [response.id for response in answer.responses]
    return in_order(answer.payload, shown, list(content.texts), sided(content.form))


def show_decision(row: TaskDecision, reviewer: str) -> DecisionOut:
    return DecisionOut(
        id=row.id,
        task=row.task_id,
        reviewer=reviewer,
        kind=row.kind,
        payload=row.payload,
        supersedes=row.supersedes,
        created_at=row.created_at,
    )


def disputed(session: Session, project_id: uuid.UUID) -> Disputed:
    """The tasks on which people differ most, of the newest that several judged."""
    found = queries.compared(session, project_id)
    asking = {key: sided(form) for key, form in read_forms(session, project_id).items()}
    items = [
        DisputedTask(
            task=task,
            kind=kind,
            prompt=record,
            answers=len(given),
            disagreement=disagreement(
                [in_order(payload, shown, sorted(shown), asking[form]) for payload, shown in given]
            ),
            decided=False,
        )
        for task, kind, form, record, given in found
    ]
    apart = sorted((item for item in items if item.disagreement > 0), key=lambda item: (-item.disagreement, item.task))
    return Disputed(looked_at=len(items), items=apart[:MOST_DISPUTED])


# ---------------------------------------------------------------- words and decisions


def review(session: Session, me: Person, project_id: uuid.UUID, submission_id: uuid.UUID, new: NewReview) -> Submission:
    """Approve an answer or send it back. 409 for an own one, and for one that was corrected meanwhile."""
    answer = find_answer(session, project_id, submission_id)
    held = {"key_share": True}  # who corrects it just now comes before, and is seen, or after
    assignment = session.get_one(Assignment, answer.assignment_id, with_for_update=held)
    if assignment.person_id == me.id:
        raise ApiError(
            409, "own-answer", Sentence("own-answer", "This answer is your own; another reviewer looks at it.")
        )
    if queries.is_superseded(session, answer.id):
        detail = Sentence("answer-corrected", "This answer was corrected meanwhile. Look at it as it stands now.")
        raise ApiError(409, "already-superseded", detail)
    word = Review(submission_id=answer.id, reviewer_id=me.id, outcome=new.outcome, created_at=func.clock_timestamp())
    session.add(word)
    if new.comment:
        threads.write(session, me, assignment, new.comment)
    session.flush()
    return answer


def decide(session: Session, me: Person, project_id: uuid.UUID, task_id: uuid.UUID, new: NewDecision) -> DecisionOut:
    """Say what the answer to a task is. 422 for what is no answer to it, 409 to overlook another decision."""
    task = lock_task(session, find_task(session, project_id, task_id).id)
    refuse_erased(session, task)
    content = content_of(session, task.id)
    payload = _payload(content, new.payload)
    standing = queries.decision_of(session, task.id)
    if (standing[0].id if standing else None) != new.supersedes:
        there = f"Decision {standing[0].id} stands; send it as supersedes." if standing else "There is none to replace."
        raise ApiError(
            409,
            "decision-stands",
            Sentence("decision-stands", "This task is decided otherwise than you saw. %(there)s", there=there),
        )
    row = TaskDecision(
        task_id=task.id,
        reviewer_id=me.id,
        supersedes=queries.last_decision(session, task.id),
        kind=content.kind,
        payload=payload,
        payload_hash=sha256_text(canonical_json(payload)),
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return show_decision(row, me.pseudonym)


def _payload(content: Content, sent: dict[str, Any]) -> dict[str, Any]:
    """As it is stored. ApiError 422 for what the task's form does not take."""
    try:
        payload = PAYLOADS[content.kind].model_validate_json(canonical_json(sent))
    except ValidationError as error:
        raise from_validation(error, PAYLOADS[content.kind], under="/payload") from None
    if problems := problems_of(content.form, payload, content.texts, content.rules):
        raise invalid(problems)
    return payload.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
