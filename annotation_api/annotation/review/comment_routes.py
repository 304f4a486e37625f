"""/v1/assignments/{id}/comments, and what waits for the caller."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Response

from annotation_api.annotation.review import threads
from annotation_api.annotation.review.threads import NewComment, Thread, WaitingMessages
from annotation_api.db.tables import Assignment, Task
from annotation_api.http.dependencies import SIGNED_IN, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.idempotency import Once

router = APIRouter(prefix="/v1", tags=["quality"], route_class=DoorRoute)


@router.get("/assignments/{assignment_id}/comments", dependencies=[allow(*SIGNED_IN)])
def list_comments(assignment_id: uuid.UUID, session: Db, me: Me) -> Thread:
    """What was said about a task with the person who has or had it."""
    return threads.show(session, me, *threads.find(session, me, assignment_id))


@router.post(
    "/assignments/{assignment_id}/comments", status_code=201, response_model=Thread, dependencies=[allow(*SIGNED_IN)]
)
def add_comment(assignment_id: uuid.UUID, body: NewComment, session: Db, me: Me, once: Once) -> Response:
    """Ask about a task of one's own, or say something to its person; an answer settles what was asked."""

    def make() -> Thread:
        assignment, task = threads.find(session, me, assignment_id)
        threads.write(session, me, assignment, body.text)
        return threads.show(session, me, assignment, task)

    return once.run(make)


@router.post("/assignments/{assignment_id}/comments:settle", status_code=204, dependencies=[allow(*SIGNED_IN)])
def settle_comments(assignment_id: uuid.UUID, session: Db, me: Me) -> Response:
    """Say that what waits here for the caller was read, or needs no answer."""
    found: tuple[Assignment, Task] = threads.find(session, me, assignment_id)
    threads.settle(session, assignment_id, asks=found[0].person_id != me.id)
    return Response(status_code=204)


@router.get("/me/waiting", dependencies=[allow(*SIGNED_IN)])
def list_waiting(session: Db, me: Me) -> WaitingMessages:
    """Messages that wait for the caller: said to them about their tasks, or asked in their projects."""
    return WaitingMessages(items=threads.waiting(session, me))
