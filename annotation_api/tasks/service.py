"""The queue: who gets which task, for how long, in which order the responses stand.

Promises: never more than `overlap` judgements of a task, never the same person twice, a skipped task
never comes back to who skipped it, and a lease that runs out frees its place. All of them hold under
concurrency because a place is only ever taken while its task's row is locked and counted.
Locks are taken in one order: person, then task.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from annotation_api.db.tables import Assignment, AssignmentState, Person, Project, Task
from annotation_api.errors import ApiError, not_found
from annotation_api.tasks import queries
from annotation_api.tasks.schemas import AssignmentOut, ShownResponse


def next_assignment(session: Session, person: Person, project: Project) -> Assignment | None:
    """The person's task in hand if there is one, else the next in the queue; None when nothing is left."""
    queries.lock_person(session, person)
    return _in_hand(session, person, project) or _claim(session, person, project)


def _in_hand(session: Session, person: Person, project: Project) -> Assignment | None:
    """The person's own lease, prolonged; one that ran out counts as long as its place is free."""
    for assignment in queries.own_leases(session, person, project.id):
        with session.begin_nested() as savepoint:
            task = queries.lock_task(session, assignment.task_id)
            session.refresh(assignment)  # others may have expired it before the lock
            held = assignment.state == AssignmentState.LEASED
            if held and queries.free_places(session, task, besides=assignment.id) > 0:
                return _prolong(session, assignment, project)
            savepoint.rollback()  # and with it the lock: who goes on to claim must hold no other task
        queries.expire(session, Assignment.id == assignment.id)
    return None


def _claim(session: Session, person: Person, project: Project) -> Assignment | None:
    """First pass over what nobody is just claiming; a second one waits, so that a free place is never missed.

    A task that proves full is let go at once (the savepoint's lock ends with it): claimers who kept
    such locks while they wait could wait for each other.
    """
    for wait in (False, True):
        passed: set[uuid.UUID] = set()
        while True:
            with session.begin_nested() as savepoint:
                task = queries.first_open_task(session, person, project.id, passed, wait=wait)
                if task is None:
                    break
                if queries.free_places(session, task) > 0:
                    return _assign(session, person, project, task)
                savepoint.rollback()
            passed.add(task.id)
    return None


def _assign(session: Session, person: Person, project: Project, task: Task) -> Assignment:
    queries.expire(session, Assignment.task_id == task.id)
    responses = [str(row.id) for row in queries.responses_of(session, [task.id])[task.id]]
    assignment = Assignment(
        task_id=task.id,
        person_id=person.id,
        state=AssignmentState.LEASED,
        display_order=display_order(task.id, responses, queries.times_shown(session, task)),
        lease_until=queries.NOW + timedelta(seconds=project.lease_seconds),
    )
    session.add(assignment)
    session.flush()
    return assignment


def display_order(task_id: uuid.UUID, responses: Sequence[str], turn: int) -> list[str]:
    """The order for the `turn`-th showing of a task: random for a task, balanced over its showings.

    K showings are the rows of a cyclic Latin square, so each response stands once in each place; the
    next K run backwards, so that neighbours are not always followed by the same neighbour.
    """
    order = list(responses)
    random.Random(task_id.int).shuffle(order)
    lap, shift = divmod(turn, len(order))
    order = order[shift:] + order[:shift]
    return order[::-1] if lap % 2 else order


def show_assignment(session: Session, assignment: Assignment) -> AssignmentOut:
    session.refresh(assignment, ["lease_until"])
    task = session.get_one(Task, assignment.task_id)
    texts = {str(row.id): row.text for row in queries.responses_of(session, [task.id])[task.id]}
    return AssignmentOut(
        assignment=assignment.id,
        task=task.id,
        project=task.project_id,
        kind=task.kind,
        prompt=queries.prompt_of(session, task).record,
        responses=[ShownResponse(id=uuid.UUID(key), text=texts[key]) for key in assignment.display_order],
        lease_until=assignment.lease_until,
    )


def find_assignment(session: Session, person: Person, assignment_id: uuid.UUID) -> Assignment:
    """The person's own assignment; another's does not exist."""
    assignment = queries.own_assignment(session, person, assignment_id)
    if assignment is None:
        raise not_found("assignment", assignment_id)
    return assignment


def renew(session: Session, person: Person, assignment_id: uuid.UUID) -> Assignment:
    """Prolong a lease while the person works; 409 once the task is done or its place is gone."""
    assignment, task = _locked(session, person, assignment_id)
    if assignment.state in (AssignmentState.SUBMITTED, AssignmentState.SKIPPED):
        raise ApiError(409, "assignment-closed", f"This task is {assignment.state.value}; ask for the next one.")
    if assignment.state == AssignmentState.EXPIRED or queries.free_places(session, task, besides=assignment.id) < 1:
        raise lease_ended()
    return _prolong(session, assignment, session.get_one(Project, task.project_id))


def skip(session: Session, person: Person, assignment_id: uuid.UUID, reason: str) -> None:
    """Pass on a task; it does not come back to this person. Skipping twice is the same."""
    assignment, _ = _locked(session, person, assignment_id)
    if assignment.state == AssignmentState.SUBMITTED:
        raise ApiError(409, "assignment-closed", "This task is submitted; change the answer instead of skipping.")
    if assignment.state != AssignmentState.SKIPPED and not queries.holds_again(session, assignment):
        assignment.state, assignment.skip_reason = AssignmentState.SKIPPED, reason


def lease_ended() -> ApiError:
    detail = "The time for this task ran out and somebody else has it now. Ask for the next one."
    return ApiError(409, "lease-ended", detail)


def _locked(session: Session, person: Person, assignment_id: uuid.UUID) -> tuple[Assignment, Task]:
    queries.lock_person(session, person)
    assignment = find_assignment(session, person, assignment_id)
    task = queries.lock_task(session, assignment.task_id)
    session.refresh(assignment)  # others may have expired it before the lock
    return assignment, task


def _prolong(session: Session, assignment: Assignment, project: Project) -> Assignment:
    assignment.lease_until = queries.NOW + timedelta(seconds=project.lease_seconds)
    session.flush()
    return assignment
