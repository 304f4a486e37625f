"""Judgements: append-only, one transaction each with the assignment's state.

A retry with the same id and body is the same submission; a correction is a new one that supersedes.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.records import canonical_json, sha256_text
from alignment.shared.sentence import Sentence
from annotation_api.annotation.gold import queries as screened
from annotation_api.annotation.gold import screening
from annotation_api.annotation.submissions import queries
from annotation_api.annotation.submissions.checks import problems_of
from annotation_api.annotation.submissions.schemas import Feedback, NewSubmission, SubmissionOut
from annotation_api.annotation.tasks import queries as queue
from annotation_api.annotation.tasks.contents import Content, content_of
from annotation_api.db.locks import lock_person
from annotation_api.db.membership import reads_answers
from annotation_api.db.tables import Assignment, AssignmentState, Person, Submission, Task
from annotation_api.db.tallies.sides import in_order, sided
from annotation_api.http.auth import Someone
from annotation_api.http.errors import ApiError, invalid, not_found


def submit(session: Session, person: Someone, sent: NewSubmission) -> tuple[Submission, bool]:
    """Store a judgement; True if it is new, False if this very one came before.

    The assignment must be the person's own (404). 409 when the id has another body, when the task is
    already answered, or when a lease ran out and its place went to somebody else.
    """
    shown, new = judge(session, person, sent)
    row = queries.submission(session, shown.id)
    assert row is not None
    return row, new


def judge(session: Session, person: Someone, new: NewSubmission) -> tuple[SubmissionOut, bool]:
    """As `submit`, with the judgement as it is shown."""
    lock_person(session, person.id)
    digest = _digest(new)
    found = queries.lock_judged(session, person, new.assignment, new.id)
    if (found is None or found.before) and (before := queries.submission(session, new.id)):
        again = show_submissions(session, [_replayed(session, person, before, digest)])[0]
        return _with_feedback(session, again), False
    if found is None:
        raise not_found("assignment", new.assignment)
    asked = content_of(session, found.task_id)
    if problems := problems_of(asked.form, new.payload, asked.texts, asked.rules):
        raise invalid(problems)
    if new.supersedes is None:
        _check_place(session, found, new.assignment)
    else:
        _check_correction(session, person, new.assignment, new.supersedes)
    added = _append(session, person, asked, new, digest)
    if not found.gold or new.supersedes is not None:
        return added, True
    shown = session.get_one(Assignment, new.assignment).display_order
    made = list(asked.texts)  # as whoever made the item saw the responses
    sampled = in_order(added.payload, shown, made, sided(asked.form))
    screening.record(session, person, asked.task_id, new.id, sampled)
    return _with_feedback(session, added), True


def _with_feedback(session: Session, shown: SubmissionOut) -> SubmissionOut:
    """With a word on an answer to the qualification set."""
    found = screened.feedback(session, shown.id)
    return shown.model_copy(update={"feedback": Feedback(correct=found.correct, why=found.why)}) if found else shown


def _digest(new: NewSubmission) -> str:
    return sha256_text(canonical_json(new.model_dump(mode="json", exclude={"id"})))


def _replayed(session: Session, person: Someone, before: Submission, digest: str) -> Submission:
    if before.payload_hash != digest or queries.author_of(session, before) != person.id:
        raise _id_taken(before.id)
    return before


def _id_taken(key: uuid.UUID) -> ApiError:
    detail = Sentence(
        "submission-id-taken",
        "Submission %(key)s came before with another body. To change an answer, send a new id and supersedes.",
        key=str(key),
    )
    return ApiError(409, "submission-id-taken", detail)


def _check_place(session: Session, found: Any, assignment_id: uuid.UUID) -> None:
    """A live lease has its place; late work is kept as long as a place is still free. Who is paused adds nothing."""
    if found.state == AssignmentState.SUBMITTED:
        current = queries.current_of(session, assignment_id)
        detail = Sentence(
            "answered-supersede",
            "You answered this task already. To change it, send supersedes: %(current)s.",
            current=current.id if current else "",
        )
        raise ApiError(409, "already-submitted", detail)
    if found.state == AssignmentState.SKIPPED:
        raise ApiError(
            409, "assignment-closed", Sentence("task-skipped", "You skipped this task. Ask for the next one.")
        )
    if found.paused is not None:
        raise screening.paused(found.paused)
    if not found.room or not (found.live or _place_is_free(session, found.task_id, assignment_id)):
        detail = Sentence(
            "answer-not-needed",
            "The time for this task ran out and its place is taken, so this answer is not needed. Take the next.",
        )
        raise ApiError(409, "lease-ended", detail)


def _place_is_free(session: Session, task_id: uuid.UUID, assignment_id: uuid.UUID) -> bool:
    """Of a locked task, for a lease that ran out; not if its person holds the task anew."""
    task, assignment = session.get_one(Task, task_id), session.get_one(Assignment, assignment_id)
    return queue.free_places(session, task, besides=assignment_id) > 0 and not queue.holds_again(session, assignment)


def _check_correction(session: Session, person: Someone, assignment_id: uuid.UUID, old_id: uuid.UUID) -> None:
    old = queries.submission(session, old_id)
    if old is None or queries.author_of(session, old) != person.id or old.assignment_id != assignment_id:
        raise not_found("submission of this assignment", old_id)
    if old.erased_at is not None:  # nobody knows any more what it counted for
        detail = Sentence("answer-erased", "This answer was erased: it is not changed any more.")
        raise ApiError(409, "erased", detail)
    newer = queries.successor_of(session, old_id)
    if newer is not None:
        raise ApiError(
            409,
            "already-superseded",
            Sentence("answer-changed", "This answer was changed already; correct %(newer)s instead.", newer=str(newer)),
        )


def _append(session: Session, person: Someone, asked: Content, new: NewSubmission, digest: str) -> SubmissionOut:
    payload = new.payload.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    values = {
        "id": new.id,
        "task": asked.task_id,
        "first": new.supersedes is None,
        "assignment": new.assignment,
        "supersedes": new.supersedes,
        "kind": new.kind,
        "payload": canonical_json(payload),
        "digest": digest,
        "active": new.active_ms,
        "total": new.total_ms,
    }
    created_at = queries.append(session, values)
    if created_at is None:  # another person used this id at the same moment
        raise _id_taken(new.id)
    return SubmissionOut(
        id=new.id,
        assignment=new.assignment,
        task=asked.task_id,
        project=asked.project_id,
        annotator=person.pseudonym,
        kind=new.kind,
        payload=payload,
        supersedes=new.supersedes,
        current=True,
        active_ms=new.active_ms,
        total_ms=new.total_ms,
        created_at=created_at,
    )


def find_submission(session: Session, viewer: Person, submission_id: uuid.UUID) -> Submission:
    """An own submission; others' are for those who read annotations."""
    row = queries.submission(session, submission_id)
    if row is None or not _may_read(session, viewer, row):
        raise not_found("submission", submission_id)
    return row


def _may_read(session: Session, viewer: Person, row: Submission) -> bool:
    """One's own always; others' in projects that one sees, but not as an annotator."""
    own = queries.author_of(session, row) == viewer.id
    return own or reads_answers(session, viewer.role, queries.project_of(session, row))


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
        total_ms=row.total_ms,
        created_at=row.created_at,
        erased_at=row.erased_at,
    )
