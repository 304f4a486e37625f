"""The queue: who gets which task, for how long, in which order the responses stand.

Promises: never more than `overlap` judgements of a task, never the same person twice, a skipped task
never comes back to who skipped it, and a lease that runs out frees its place. All of them hold under
concurrency because a place is only ever taken while its task's row is locked and counted.
Locks are taken in one order, person, then task; who claims never waits for a task's lock, but looks again.
"""

from __future__ import annotations

import time
import uuid
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy.orm import Session

from alignment.shared.records import canonical_json
from alignment.shared.sentence import Sentence
from annotation_api.annotation.gold import screening
from annotation_api.annotation.queue import claims
from annotation_api.annotation.queue.claims import TaskPlace
from annotation_api.annotation.submissions import queries as judgements
from annotation_api.annotation.tasks import queries
from annotation_api.annotation.tasks.contents import content_of
from annotation_api.annotation.tasks.schemas import AssignmentOut, ShownResponse
from annotation_api.db.locks import lock_person
from annotation_api.db.tables import Assignment, AssignmentState, Project, Task
from annotation_api.http.auth import Someone
from annotation_api.http.errors import ApiError, not_found

PATIENCE = 10.0  # seconds for which a claim looks again while others hold what is open
PAUSE = 0.003  # seconds between two looks


class HeldTask(Protocol):
    """An assignment, as a row or as it was just claimed."""

    @property
    def id(self) -> uuid.UUID: ...
    @property
    def task_id(self) -> uuid.UUID: ...
    @property
    def display_order(self) -> list[Any]: ...
    @property
    def lease_until(self) -> datetime: ...


def next_assignment(
    session: Session, person: Someone, project: Project, besides: uuid.UUID | None = None
) -> HeldTask | None:
    """As `next_in`, of a project at hand."""
    return next_in(session, person, project.id, besides)


def next_in(
    session: Session, person: Someone, project_id: uuid.UUID, besides: uuid.UUID | None = None
) -> HeldTask | None:
    """The person's task in hand if there is one, else the next in the queue; None when nothing is left.

    With `besides`, another one than that assignment: a page fetches it ahead. So a person holds two at most.
    404 for no such project, 409 once the person's limit of the day is reached and for one who is paused.
    """
    lock_person(session, person.id)
    rows = claims.in_hand(session, person, project_id)
    if not rows:
        raise not_found("project", project_id)
    project, hand = rows[0], [row for row in rows if row.id is not None]
    if project.paused_at is not None:
        raise screening.paused(project.reason)
    for row in hand:
        if row.id != besides and (held := _resume(session, row.id, row.task_id, project.lease_seconds)):
            return held
    if project.closed_at is not None:  # what is in hand may be finished, nothing more is given out
        return None
    if project.daily_limit is not None:
        # the others were not to be had back: judged by somebody else, or taken out of the queue
        _check_limit(session, person, project_id, project.daily_limit, sum(row.id == besides for row in hand))
    if gold := _gold(session, person, project):
        return _take(session, person, gold, project.lease_seconds)
    return _claim(session, person, project)


def _gold(session: Session, person: Someone, project: Any) -> uuid.UUID | None:
    """A task whose answer is known, if one is due: at the entry, or now and then while others are open, too."""
    if project.entry is not None and project.entered_at is None:
        item = screening.check_entry(session, person, project.project_id, project.entry)
        if item is not None:
            return item
    if not project.gold_rate:
        return None
    item = screening.draw(session, person, project.project_id, project.gold_rate, project.languages)
    return item if item and claims.any_open(session, person, project) else None


def _take(session: Session, person: Someone, task_id: uuid.UUID, seconds: int) -> TaskPlace | None:
    content = content_of(session, task_id)
    return claims.take_place(session, person, task_id, content.orders, content.turns, seconds)


def _resume(session: Session, assignment_id: uuid.UUID, task_id: uuid.UUID, seconds: int) -> Assignment | None:
    """The person's own lease, prolonged; one that ran out counts as long as its place is free."""
    with session.begin_nested() as savepoint:
        task = queries.lock_task(session, task_id)
        assignment = session.get_one(Assignment, assignment_id, populate_existing=True)
        held = assignment.state == AssignmentState.LEASED  # others may have expired it before the lock
        if held and queries.free_places(session, task, besides=assignment.id) > 0:
            return _prolong(session, assignment, seconds)
        savepoint.rollback()  # and with it the lock: who goes on to claim must hold no other task
    queries.expire(session, Assignment.id == assignment_id)
    return None


def _check_limit(session: Session, person: Someone, project_id: uuid.UUID, limit: int, in_hand: int) -> None:
    """What is in hand will be judged, too."""
    if judgements.judged_today(session, person, project_id) + in_hand >= limit:
        detail = Sentence(
            "daily-limit",
            "You reached this project's limit of %(limit)s tasks a day. Thank you; come back tomorrow (UTC).",
            limit=limit,
        )
        raise ApiError(409, "daily-limit", detail)


def _claim(session: Session, person: Someone, project: claims.Row) -> TaskPlace | None:
    """The first open task that nobody is just claiming. While others hold all that is open, look again:
    one of them may let go, and a free place is never missed.

    A task that proves full under its lock stays locked and is passed over. Nobody waits for it who could
    keep us waiting: claimers look again, and who judges it holds no other task.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        passed: set[uuid.UUID] = set()
        while task := claims.lock_first_free(session, person, project, passed):
            if place := _take(session, person, task, project.lease_seconds):
                return place
            passed.add(task)
        if not claims.any_open(session, person, project):
            return None
        if time.monotonic() > deadline:
            raise ApiError(
                503,
                "queue-busy",
                Sentence("queue-busy", "Others hold the last tasks. Try again."),
                headers={"Retry-After": "1"},
            )
        time.sleep(PAUSE)


def show_assignment(session: Session, assignment: HeldTask) -> AssignmentOut:
    """The task as its person sees it. What is claimed just now has no draft yet."""
    content = content_of(session, assignment.task_id)
    fresh = isinstance(assignment, TaskPlace)
    keys = [uuid.UUID(key) for key in assignment.display_order]
    return AssignmentOut(
        assignment=assignment.id,
        task=content.task_id,
        project=content.project_id,
        kind=content.kind,
        form=content.form,
        rules=content.rules,
        prompt=content.prompt,
        responses=[ShownResponse(id=key, text=content.texts[key]) for key in keys],
        lease_until=assignment.lease_until,
        draft=None if fresh else queries.draft_of(session, assignment.id),
    )


def find_assignment(session: Session, person: Someone, assignment_id: uuid.UUID) -> Assignment:
    """The person's own assignment; another's does not exist."""
    assignment = queries.own_assignment(session, person, assignment_id)
    if assignment is None:
        raise not_found("assignment", assignment_id)
    return assignment


def renew(session: Session, person: Someone, assignment_id: uuid.UUID) -> Assignment:
    """Prolong a lease while the person works; 409 once the task is done or its place is gone."""
    assignment, task = _locked(session, person, assignment_id)
    _check_open(assignment)
    if assignment.state == AssignmentState.EXPIRED or queries.free_places(session, task, besides=assignment.id) < 1:
        raise lease_ended()
    return _prolong(session, assignment, session.get_one(Project, task.project_id).lease_seconds)


def skip(session: Session, person: Someone, assignment_id: uuid.UUID, reason: str) -> None:
    """Pass on a task; it does not come back to this person. Skipping twice is the same."""
    assignment, _ = _locked(session, person, assignment_id)
    if assignment.state == AssignmentState.SUBMITTED:
        raise ApiError(
            409,
            "assignment-closed",
            Sentence("skip-of-an-answer", "This task is submitted; change the answer instead of skipping."),
        )
    if assignment.state != AssignmentState.SKIPPED and not queries.holds_again(session, assignment):
        assignment.state, assignment.skip_reason = AssignmentState.SKIPPED, reason


def save_draft(session: Session, person: Someone, assignment_id: uuid.UUID, payload: dict[str, Any]) -> None:
    """Keep what stands in the form while the task is in the person's hands; it is never an answer."""
    if not claims.save_draft(session, person, assignment_id, canonical_json(payload)):
        _check_open(find_assignment(session, person, assignment_id))
        raise lease_ended()


def _check_open(assignment: Assignment) -> None:
    if assignment.state in (AssignmentState.SUBMITTED, AssignmentState.SKIPPED):
        raise ApiError(
            409,
            "assignment-closed",
            Sentence("task-over", "This task is %(state)s; ask for the next one.", state=assignment.state.value),
        )


def lease_ended() -> ApiError:
    detail = Sentence(
        "task-is-another's", "The time for this task ran out and somebody else has it now. Ask for the next one."
    )
    return ApiError(409, "lease-ended", detail)


def _locked(session: Session, person: Someone, assignment_id: uuid.UUID) -> tuple[Assignment, Task]:
    lock_person(session, person.id)
    assignment = find_assignment(session, person, assignment_id)
    task = queries.lock_task(session, assignment.task_id)
    session.refresh(assignment)  # others may have expired it before the lock
    return assignment, task


def _prolong(session: Session, assignment: Assignment, seconds: int) -> Assignment:
    assignment.lease_until = queries.NOW + timedelta(seconds=seconds)
    session.flush()
    session.refresh(assignment, ["lease_until"])
    return assignment
