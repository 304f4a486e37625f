"""Judgements: append-only, one transaction each with the assignment's state.

A retry with the same id and body is the same submission; a correction is a new one that supersedes.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy.orm import Session

from alignment.records import canonical_json, sha256_text
from annotation_api.db.tables import Assignment, AssignmentState, Person, Role, Submission, Task
from annotation_api.errors import ApiError, invalid, not_found
from annotation_api.feedback import queries
from annotation_api.feedback.ranking import problems_of
from annotation_api.feedback.schemas import NewSubmission, SubmissionOut
from annotation_api.tasks import queries as queue


def submit(session: Session, person: Person, new: NewSubmission) -> tuple[Submission, bool]:
    """Store a judgement; True if it is new, False if this very one came before.

    The assignment must be the person's own (404). 409 when the id has another body, when the task is
    already answered, or when a lease ran out and its place went to somebody else.
    """
    queue.lock_person(session, person)
    digest = _digest(new)
    before = queries.submission(session, new.id)
    if before is not None:
        return _replayed(session, person, before, digest), False
    assignment = queue.own_assignment(session, person, new.assignment)
    if assignment is None:
        raise not_found("assignment", new.assignment)
    task = queue.lock_task(session, assignment.task_id)
    session.refresh(assignment)  # others may have expired it before the lock
    _check_payload(session, task, new)
    if new.supersedes is None:
        _take_place(session, task, assignment)
    else:
        _check_correction(session, person, assignment, new.supersedes)
    return _append(session, new, digest), True


def _digest(new: NewSubmission) -> str:
    return sha256_text(canonical_json(new.model_dump(mode="json", exclude={"id"})))


def _replayed(session: Session, person: Person, before: Submission, digest: str) -> Submission:
    if before.payload_hash != digest or queries.author_of(session, before) != person.id:
        raise _id_taken(before.id)
    return before


def _id_taken(key: uuid.UUID) -> ApiError:
    detail = f"Submission {key} came before with another body. To change an answer, send a new id and supersedes."
    return ApiError(409, "submission-id-taken", detail)


def _check_payload(session: Session, task: Task, new: NewSubmission) -> None:
    texts = {row.id: row.text for row in queue.responses_of(session, [task.id])[task.id]}
    problems = problems_of(new.payload.groups, texts)
    if problems:
        raise invalid(problems)


def _take_place(session: Session, task: Task, assignment: Assignment) -> None:
    """Turn the lease into a judgement; late work is kept as long as the place is still free."""
    if assignment.state == AssignmentState.SUBMITTED:
        current = queries.current_of(session, assignment.id)
        detail = f"You answered this task already. To change it, send supersedes: {current.id if current else ''}."
        raise ApiError(409, "already-submitted", detail)
    if assignment.state == AssignmentState.SKIPPED:
        raise ApiError(409, "assignment-closed", "You skipped this task. Ask for the next one.")
    if queue.free_places(session, task, besides=assignment.id) < 1 or queue.holds_again(session, assignment):
        detail = "The time for this task ran out and its place is taken, so this answer is not needed. Take the next."
        raise ApiError(409, "lease-ended", detail)
    assignment.state = AssignmentState.SUBMITTED


def _check_correction(session: Session, person: Person, assignment: Assignment, old_id: uuid.UUID) -> None:
    old = queries.submission(session, old_id)
    if old is None or queries.author_of(session, old) != person.id or old.assignment_id != assignment.id:
        raise not_found("submission of this assignment", old_id)
    newer = queries.successor_of(session, old_id)
    if newer is not None:
        raise ApiError(409, "already-superseded", f"This answer was changed already; correct {newer} instead.")


def _append(session: Session, new: NewSubmission, digest: str) -> Submission:
    added = queries.add_submission(
        session,
        {
            "id": new.id,
            "assignment_id": new.assignment,
            "supersedes": new.supersedes,
            "kind": new.kind,
            "payload": new.payload.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
            "payload_hash": digest,
            "active_ms": new.active_ms,
        },
    )
    if not added:  # another person used this id at the same moment
        raise _id_taken(new.id)
    return session.get_one(Submission, new.id)


def find_submission(session: Session, viewer: Person, submission_id: uuid.UUID) -> Submission:
    """An own submission; others' are for those who read annotations."""
    row = queries.submission(session, submission_id)
    if row is None or (viewer.role == Role.ANNOTATOR and queries.author_of(session, row) != viewer.id):
        raise not_found("submission", submission_id)
    return row


def show_submissions(session: Session, rows: Sequence[Submission]) -> list[SubmissionOut]:
    """The judgements with their tasks and their authors' pseudonyms."""
    contexts, superseded = queries.contexts(session, rows), queries.superseded(session, rows)
    return [_show(row, *contexts[row.assignment_id], current=row.id not in superseded) for row in rows]


def _show(row: Submission, task: uuid.UUID, project: uuid.UUID, annotator: str, *, current: bool) -> SubmissionOut:
    return SubmissionOut(
        id=row.id,
        assignment=row.assignment_id,
        task=task,
        project=project,
        annotator=annotator,
        kind=row.kind,
        payload=row.payload,
        supersedes=row.supersedes,
        current=current,
        active_ms=row.active_ms,
        created_at=row.created_at,
    )
