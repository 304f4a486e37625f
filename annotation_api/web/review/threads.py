"""The page of messages about a task, and the page of what waits for the caller (the bell)."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from annotation_api.annotation.review import threads
from annotation_api.annotation.review.threads import NewComment
from annotation_api.annotation.submissions.queries import current_of
from annotation_api.annotation.tasks.contents import content_of
from annotation_api.db.tables import Assignment, Person, Project, Task
from annotation_api.http.dependencies import SIGNED_IN, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.web.markup.rendering import read_form, render, see_other, text_of
from annotation_api.web.mine import opening

router = APIRouter(route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]


@router.get("/waiting", dependencies=[allow(*SIGNED_IN)])
def waiting_page(request: Request, session: Db, me: Me) -> Response:
    """Messages that wait for the caller, oldest first."""
    items = [(item, opening(item.prompt)) for item in threads.waiting(session, me)]
    return render(request, "waiting.html", me, items=items)


@router.get("/threads/{assignment_id}", dependencies=[allow(*SIGNED_IN)])
def thread_page(assignment_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    assignment, task = threads.find(session, me, assignment_id)
    return _page(request, session, me, assignment, task)


@router.post("/threads/{assignment_id}", dependencies=[allow(*SIGNED_IN)])
def write(assignment_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    """Say something, or say that what waits here was read."""
    assignment, task = threads.find(session, me, assignment_id)
    if text_of(form, "do") == "settle":
        threads.settle(session, assignment.id, asks=assignment.person_id != me.id)
        return see_other("/waiting")
    try:
        new = NewComment.model_validate({"text": text_of(form, "text")})
    except ValidationError:
        return _page(request, session, me, assignment, task, Sentence("no-words", "Write a few words first."))
    threads.write(session, me, assignment, new.text)
    if assignment.person_id == me.id:  # who answers has read it; after the prompt's lock, as an erasure takes them
        threads.settle(session, assignment.id, asks=False)
    return see_other(f"/threads/{assignment.id}")


def _page(
    request: Request, session: Session, me: Person, assignment: Assignment, task: Task, error: str | None = None
) -> Response:
    own, answer = assignment.person_id == me.id, current_of(session, assignment.id)
    project = session.get(Project, task.project_id)
    thread = threads.show(session, me, assignment, task)
    return render(
        request,
        "thread.html",
        me,
        422 if error else 200,
        thread=thread,
        waits=any(item.settled_at is None and item.asks != own for item in thread.items),
        own=own,
        project=project,
        question=opening(content_of(session, task.id).prompt),
        answer=answer,
        error=error,
    )
