"""The page on which people judge: a plain form that works without scripts, and the pieces that scripts fetch."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence, in_turn
from annotation_api.annotation.gold import queries as screened
from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.queue import service
from annotation_api.annotation.submissions import queries as judgements
from annotation_api.annotation.submissions import service as feedback
from annotation_api.annotation.tasks import queries
from annotation_api.annotation.tasks.schemas import AssignmentOut
from annotation_api.db.tables import Person, Project, Submission
from annotation_api.http.dependencies import ANNOTATES, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError
from annotation_api.web.annotate.work import TaskPage
from annotation_api.web.markup.language import language_of, speaking, translate
from annotation_api.web.markup.rendering import read_form, render, see_other, text_of
from annotation_api.web.queries import median_active_ms

router = APIRouter(prefix="/projects/{project_id}", dependencies=[allow(*ANNOTATES)], route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]

PLAIN_WORDS = {  # where the service's own sentence speaks to programs
    "already-submitted": "You answered this task already. “Change my last answer” lets you change it.",
    "lease-ended": "The time for this task ran out and somebody else has answered it. Your answer is not needed.",
    "already-superseded": "This answer was changed already, perhaps in another tab. Open it again to change it.",
    "assignment-closed": "You skipped this task already.",
}
SOONEST, LATEST = 1, 15  # seconds until a page asks again for what others hold
SKIP_REASONS = (
    "I cannot judge this topic",
    "Not my language",
    "The task is unclear or broken",
    "I do not want to read this",
    "Something else",
)


@router.get("/annotate")
def annotate_page(project_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    project = projects.find_project(session, project_id)
    try:
        assignment = service.next_assignment(session, me, project)
    except ApiError as error:  # the day's limit: a page that says so
        return _page(request, session, me, project, error=error)
    if assignment is None:
        return _page(request, session, me, project)
    shown = service.show_assignment(session, assignment)
    return _page(request, session, me, project, shown, TaskPage.begin(shown))


@router.post("/card")
def card(project_id: uuid.UUID, request: Request, session: Db, me: Me, besides: uuid.UUID | None = None) -> Response:
    """The next task's part of the page, besides the one in hand; 204 when nothing is left.

    With Retry-After where others hold tasks that may come back, and with how many they hold.
    """
    project = projects.find_project(session, project_id)
    with _in_their_language(request, me):
        assignment = service.next_assignment(session, me, project, besides=besides)
    if assignment is None:
        return _nothing(*queries.held_by_others(session, me, project.id))
    shown = service.show_assignment(session, assignment)
    return render(request, "_task.html", me, **_task(project, shown, TaskPage.begin(shown)))


def _nothing(held: int, seconds: float) -> Response:
    """A lease may be given back before it ends: look again soon, but not without pause."""
    wait = min(max(math.ceil(seconds), SOONEST), LATEST)
    return Response(status_code=204, headers={"Retry-After": str(wait), "X-Held-Tasks": str(held)} if held else {})


@contextmanager
def _in_their_language(request: Request, me: Person) -> Iterator[None]:
    """What is refused inside is told in the person's language: the page's script shows it as it comes."""
    try:
        yield
    except ApiError as error:
        with speaking(language_of(request, me)):
            told = [each.model_copy(update={"message": translate(each.message)}) for each in error.problems]
            detail = translate(error.detail)
        raise ApiError(error.status, error.slug, detail, told, error.headers, error.objects) from error


@router.get("/correct")
def correct_page(
    project_id: uuid.UUID, request: Request, session: Db, me: Me, submission: uuid.UUID | None = None
) -> Response:
    """An own answer, to be changed: the one asked for as it stands now, else the last in the project."""
    project = projects.find_project(session, project_id)
    answer = _own(session, me, submission) if submission else judgements.last_of(session, me, project.id)
    if answer is None:
        return see_other(f"/projects/{project.id}/annotate")
    shown = service.show_assignment(session, service.find_assignment(session, me, answer.assignment_id))
    return _page(request, session, me, project, shown, TaskPage.correct(answer, shown))


def _own(session: Session, me: Person, submission: uuid.UUID) -> Submission | None:
    """The newest form of an own answer. ApiError 404 for another's."""
    asked = feedback.find_submission(session, me, submission)
    service.find_assignment(session, me, asked.assignment_id)
    return judgements.current_of(session, asked.assignment_id)


@router.post("/annotate")
def submit(
    project_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me, background: bool = False
) -> Response:
    """Store the answer and go on; on an error the form comes back as it was, with the reason.

    In the background, a script gets the new status line, or the error as problem+json.
    """
    project = projects.find_project(session, project_id)
    assignment = service.find_assignment(session, me, _uuid(text_of(form, "assignment")))
    shown = service.show_assignment(session, assignment)
    work = TaskPage.read(form, shown)
    if background:
        with _in_their_language(request, me):
            feedback.submit(session, me, work.submit(shown))
        return render(request, "_status.html", me, **_status(session, me, project))
    try:
        feedback.submit(session, me, work.submit(shown))
    except ApiError as error:
        session.rollback()
        return _page(request, session, me, project, shown, work, error)
    return see_other(f"/projects/{project.id}/annotate")


@router.post("/skip")
def skip(project_id: uuid.UUID, form: Form, session: Db, me: Me) -> Response:
    """Pass on a task; the reason is one of the list, or words, or both."""
    given = [text_of(form, name).strip() for name in ("reason", "words")]
    reason = ": ".join(part for part in given if part)[:500] or "no reason given"
    service.skip(session, me, _uuid(text_of(form, "assignment")), reason)
    return see_other(f"/projects/{project_id}/annotate")


def _uuid(value: str) -> uuid.UUID:
    try:
        return uuid.UUID(value)
    except ValueError:
        raise ApiError(
            422, "invalid", Sentence("form-without-task", "The form came without its task. Open the page again.")
        ) from None


def _page(
    request: Request,
    session: Session,
    me: Person,
    project: Project,
    shown: AssignmentOut | None = None,
    work: TaskPage | None = None,
    error: ApiError | None = None,
) -> Response:
    context: dict[str, Any] = _task(project, shown, work) if shown and work else _no_task(session, me, project)
    return render(
        request,
        "annotate.html",
        me,
        error.status if error else 200,
        **{"project": project, "skip_reasons": SKIP_REASONS} | context | _status(session, me, project),
        error=_sentence(error) if error else None,
        words=PLAIN_WORDS,
    )


def _no_task(session: Session, me: Person, project: Project) -> dict[str, Any]:
    """What a page without a task shows: nothing is left, or others hold what is."""
    held, _ = queries.held_by_others(session, me, project.id)
    return {"shown": None, "work": None, "held": held}


def _task(project: Project, shown: AssignmentOut, work: TaskPage) -> dict[str, Any]:
    """What the task's part of the page shows."""
    return {**work.shown_with(shown), "project": project, "skip_reasons": SKIP_REASONS, "held": 0}


def _status(session: Session, me: Person, project: Project) -> dict[str, Any]:
    """The quiet line: done today, median time, left; and a word on an answer to the qualification set."""
    last = judgements.last_of(session, me, project.id)
    return {
        "project": project,
        "done_today": judgements.judged_today(session, me, project.id),
        "median_ms": median_active_ms(session, me, project.id),
        "left": queries.left_for(session, me, project.id),
        "feedback": screened.feedback(session, last.id) if last else None,
        "can_correct": last is not None,
    }


def _sentence(error: ApiError) -> str:
    """What a person is told: plain words where there are some, and never a pointer into JSON."""
    if error.slug in PLAIN_WORDS:
        return PLAIN_WORDS[error.slug]
    told = [problem.message for problem in error.problems]
    return in_turn(told) if told else error.detail
