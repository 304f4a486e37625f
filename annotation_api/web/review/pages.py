"""The pages of reviewers: answers with what their annotators saw, tasks side by side, decisions."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from annotation_api.annotation.gold.expected import Expected
from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.review import queries, service, threads
from annotation_api.annotation.review.schemas import (
    AnswerFilter,
    AnswerOut,
    NewDecision,
    NewReview,
    Reviewed,
    TaskReview,
)
from annotation_api.annotation.tasks.contents import content_of
from annotation_api.annotation.tasks.schemas import AssignmentOut
from annotation_api.db.tables import Assignment, GoldItem, Person, Project, Submission, Task
from annotation_api.db.tallies.sides import in_order, sided
from annotation_api.http.dependencies import READS_RUNS, REVIEWS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError, valid
from annotation_api.http.pagination import fetch_rows
from annotation_api.web.annotate.cards import cards_of
from annotation_api.web.annotate.work import KINDS, TaskPage
from annotation_api.web.markup.fields import LEFT_EMPTY, Words
from annotation_api.web.markup.rendering import read_form, render, see_other, text_of
from annotation_api.web.review import said

router = APIRouter(prefix="/projects/{project_id}/review", route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]
PAGE = 25
Seconds = Annotated[Annotated[float, Query(ge=0, allow_inf_nan=False)] | None, LEFT_EMPTY]


@router.get("", dependencies=[allow(*READS_RUNS)])
def answers_page(
    project_id: uuid.UUID,
    request: Request,
    session: Db,
    me: Me,
    annotator: Words = "",
    reviewed: Annotated[Reviewed | None, LEFT_EMPTY] = None,
    flag: Words = "",
    noted: bool = False,
    prompt: Words = "",
    faster: Seconds = None,
    slower: Seconds = None,
    disagrees: bool = False,
    cursor: Words = "",
) -> Response:
    """Answers as they stand, newest first; the fields of the form narrow them down."""
    project = projects.find_project(session, project_id)
    wanted = AnswerFilter(
        annotator=annotator.strip() or None,
        reviewed=reviewed,
        flag=flag.strip() or None,
        noted=noted,
        prompt=prompt.strip() or None,
        faster=faster,
        slower=slower,
        disagrees=disagrees,
    )
    query = queries.answers(project.id, wanted)
    rows, after = fetch_rows(session, query, Submission, limit=PAGE, cursor=cursor or None)
    shown = service.show_answers(session, me, project.id, rows)
    kept = {name: value for name, value in vars(wanted).items() if value is not None and value is not False}
    return render(
        request,
        "review.html",
        me,
        project=project,
        wanted=wanted,
        states=list(Reviewed),
        answers=[(one, said.in_short(one.payload, said.letters(one.responses))) for one in shown],
        next=f"?{urlencode(kept | {'cursor': after})}" if after else None,
    )


@router.get("/disputed", dependencies=[allow(*READS_RUNS)])
def disputed_page(project_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    """The tasks on which people differ most."""
    project = projects.find_project(session, project_id)
    found = service.disputed(session, project.id)
    return render(request, "review_disputed.html", me, project=project, found=found)


@router.get("/answers/{answer_id}", dependencies=[allow(*READS_RUNS)])
def answer_page(project_id: uuid.UUID, answer_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    """One answer, as its annotator saw the task."""
    return _answer(request, session, me, projects.find_project(session, project_id), answer_id)


@router.post("/answers/{answer_id}", dependencies=[allow(*REVIEWS)])
def review_answer(
    project_id: uuid.UUID, answer_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me
) -> Response:
    """Approve it or send it back, and go on to the task."""
    project = projects.find_project(session, project_id)
    sent = {"outcome": text_of(form, "outcome"), "comment": text_of(form, "comment").strip() or None}
    try:
        service.review(session, me, project.id, answer_id, valid(NewReview, sent))
    except ApiError as error:
        session.rollback()
        return _answer(request, session, me, project, answer_id, error, typed=text_of(form, "comment"))
    return see_other(f"/projects/{project.id}/review/answers/{answer_id}")


def _answer(
    request: Request,
    session: Session,
    me: Person,
    project: Project,
    answer_id: uuid.UUID,
    error: ApiError | None = None,
    *,
    typed: str = "",
) -> Response:
    row = service.find_answer(session, project.id, answer_id)
    answer = service.show_answers(session, me, project.id, [row])[0]
    task = session.get_one(Task, answer.task)
    names = said.letters(answer.responses)
    return render(
        request,
        "review_answer.html",
        me,
        error.status if error else 200,
        project=project,
        answer=answer,
        names=names,
        short=said.in_short(answer.payload, names),
        ranks=said.ranks(answer.payload),
        full=said.in_full(answer.payload, content_of(session, task.id).form),
        flags=said.flagged(answer.payload, names),
        thread=threads.show(session, me, session.get_one(Assignment, row.assignment_id), task),
        reviews=me.role in REVIEWS,
        error=error.shown if error else None,
        typed=typed,
    )


# ---------------------------------------------------------------- side by side


@router.get("/tasks/{task_id}", dependencies=[allow(*READS_RUNS)])
def task_page(project_id: uuid.UUID, task_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    """All that was said of a task, side by side, and the form to decide it."""
    return side_by_side(request, session, me, projects.find_project(session, project_id), task_id)


@router.post("/tasks/{task_id}", dependencies=[allow(*REVIEWS)])
def decide_task(
    project_id: uuid.UUID, task_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me
) -> Response:
    """Decide what the answer is; on an error the form comes back as it was."""
    project = projects.find_project(session, project_id)
    shown = as_task(service.show_task(session, me, project.id, task_id), project)
    work = TaskPage.read(form, shown)
    try:
        payload = work.submit(shown).payload.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        sent = {"payload": payload, "supersedes": text_of(form, "supersedes") or None}
        service.decide(session, me, project.id, task_id, valid(NewDecision, sent))
    except ApiError as error:
        session.rollback()
        return side_by_side(request, session, me, project, task_id, work, error)
    return see_other(f"/projects/{project.id}/review/tasks/{task_id}")


def as_task(found: TaskReview, project: Project) -> AssignmentOut:
    """The task as the form of annotators shows it, in the order of sampling; it is nobody's assignment."""
    return AssignmentOut(
        assignment=found.task,
        task=found.task,
        project=project.id,
        kind=found.kind,
        form=found.form,
        rules=found.rules,
        prompt=found.prompt,
        responses=found.responses,
        lease_until=project.created_at,
        draft=None,
    )


def side_by_side(
    request: Request,
    session: Session,
    me: Person,
    project: Project,
    task_id: uuid.UUID,
    work: TaskPage | None = None,
    error: ApiError | None = None,
    *,
    expected: Mapping[str, str] | None = None,
) -> Response:
    """`expected` is what was typed into the form of a gold item."""
    found = service.show_task(session, me, project.id, task_id)
    shown, names = as_task(found, project), said.letters(found.responses)
    standing = found.decision
    before = KINDS[found.kind].before(standing.payload, shown) if standing else KINDS[found.kind].fresh()
    work = work or TaskPage(before)
    return render(
        request,
        "review_task.html",
        me,
        error.status if error else 200,
        project=project,
        found=found,
        names=names,
        answers=[
            (one, said.in_short(_told(one, found), names), said.flagged(one.payload, names)) for one in found.answers
        ],
        decided=said.in_short(standing.payload, names) if standing else None,
        shown=shown,
        form=found.form,
        cards=cards_of(shown),
        template=KINDS[found.kind].template,
        work=work,
        entered=work.entered,
        extras=work.extras,
        reviews=me.role in REVIEWS,
        gold=_gold(session, found, names),
        expected=expected or {},
        error=error.shown if error else None,
    )


def _told(one: AnswerOut, found: TaskReview) -> Mapping[str, Any]:
    """What a person said, of the responses as they stand on this page."""
    shown, here = ([response.id for response in each] for each in (one.responses, found.responses))
    return in_order(one.payload, shown, here, sided(found.form))


def _gold(session: Session, found: TaskReview, names: dict[str, str]) -> dict[str, Any] | None:
    """What is expected of a gold item, in words."""
    item = session.get(GoldItem, found.task)
    if item is None:
        return None
    expected = said.expected_in_short(Expected.model_validate(item.expected), names)
    return {"expected": expected, "why": item.why, "use": item.use.value, "withdrawn": item.withdrawn_at is not None}
