"""/v1/projects/{id}: answers under review, side by side, decided; the most disputed tasks."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from annotation_api.annotation.projects.service import find_project
from annotation_api.annotation.review import queries, service
from annotation_api.annotation.review.schemas import (
    AnswerFilter,
    AnswerOut,
    DecisionOut,
    Disputed,
    NewDecision,
    NewReview,
    Reviewed,
    TaskReview,
)
from annotation_api.db.tables import Submission
from annotation_api.http.dependencies import READS_RUNS, REVIEWS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.idempotency import Once
from annotation_api.http.pagination import Cursor, Limit, NextPage, Page, fetch_rows
from annotation_api.http.schemas import Moment

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["quality"], route_class=DoorRoute)
TEXT = r"^[^\x00]*$"  # what Postgres can hold


async def answer_filter(
    annotator: Annotated[str | None, Query(max_length=100, pattern=TEXT, description="Only this pseudonym's.")] = None,
    reviewed: Annotated[Reviewed | None, Query(description="How far the review has come.")] = None,
    flag: Annotated[str | None, Query(max_length=40, pattern=TEXT, description="With this flag on a response.")] = None,
    noted: Annotated[bool, Query(description="With a note.")] = False,
    prompt: Annotated[
        str | None, Query(max_length=200, pattern=TEXT, description="With these words in the prompt.")
    ] = None,
    faster: Annotated[float | None, Query(ge=0, description="In less than so many seconds at work.")] = None,
    slower: Annotated[float | None, Query(ge=0, description="In more than so many seconds.")] = None,
    since: Annotated[Moment | None, Query(description="Given then or later.")] = None,
    until: Annotated[Moment | None, Query(description="Given before.")] = None,
    disagrees: Annotated[bool, Query(description="Somebody else said otherwise of the task.")] = False,
) -> AnswerFilter:
    return AnswerFilter(annotator, reviewed, flag, noted, prompt, faster, slower, since, until, disagrees)


Wanted = Annotated[AnswerFilter, Depends(answer_filter)]


@router.get("/answers", dependencies=[allow(*READS_RUNS)])
def list_answers(
    project_id: uuid.UUID,
    session: Db,
    more: NextPage,
    me: Me,
    wanted: Wanted,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[AnswerOut]:
    """Answers as they stand, newest first, each with what its annotator saw."""
    find_project(session, project_id)
    query = queries.answers(project_id, wanted)
    rows, after = fetch_rows(session, query, Submission, limit=limit, cursor=cursor)
    return more.page(service.show_answers(session, me, project_id, rows), after)


@router.get("/answers/{answer_id}", dependencies=[allow(*READS_RUNS)])
def show_answer(project_id: uuid.UUID, answer_id: uuid.UUID, session: Db, me: Me) -> AnswerOut:
    """One answer with what its annotator saw."""
    find_project(session, project_id)
    return service.show_answers(session, me, project_id, [service.find_answer(session, project_id, answer_id)])[0]


@router.post("/answers/{answer_id}:review", status_code=201, response_model=AnswerOut, dependencies=[allow(*REVIEWS)])
def review_answer(
    project_id: uuid.UUID, answer_id: uuid.UUID, body: NewReview, session: Db, me: Me, once: Once
) -> Response:
    """Approve an answer, or send it back with a comment. A reviewer's own is for another one."""
    find_project(session, project_id)

    def make() -> AnswerOut:
        answer = service.review(session, me, project_id, answer_id, body)
        return service.show_answers(session, me, project_id, [answer])[0]

    return once.run(make)


@router.get("/disputed", dependencies=[allow(*READS_RUNS)])
def list_disputed(project_id: uuid.UUID, session: Db) -> Disputed:
    """The tasks on which people differ most, undecided so far, of the newest 1000 that several judged."""
    find_project(session, project_id)
    return service.disputed(session, project_id)


@router.get("/tasks/{task_id}/answers", dependencies=[allow(*READS_RUNS)])
def compare_answers(project_id: uuid.UUID, task_id: uuid.UUID, session: Db, me: Me) -> TaskReview:
    """All answers to a task side by side, drafts apart, and the decision that stands."""
    find_project(session, project_id)
    return service.show_task(session, me, project_id, task_id)


@router.post("/tasks/{task_id}:decide", status_code=201, response_model=DecisionOut, dependencies=[allow(*REVIEWS)])
def decide_task(
    project_id: uuid.UUID, task_id: uuid.UUID, body: NewDecision, session: Db, me: Me, once: Once
) -> Response:
    """Decide what the answer to a task is. It outranks the votes where a snapshot says so."""
    find_project(session, project_id)
    return once.run(
        lambda: service.decide(session, me, project_id, task_id, body),
        location=f"/v1/projects/{project_id}/tasks/{task_id}/answers",
    )
