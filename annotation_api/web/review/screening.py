"""The pages on gold items, on the people whom they screen, and on hours at work."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from annotation_api.annotation.gold import queries, service
from annotation_api.annotation.gold.schemas import NewGold, NewPause, QualityRulesPatch
from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.review.queries import decision_of
from annotation_api.annotation.signals import service as signals
from annotation_api.annotation.signals.hours import WorkDay, hours
from annotation_api.annotation.signals.routes import period
from annotation_api.annotation.tasks.contents import content_of
from annotation_api.annotation.tasks.schemas import ShownResponse
from annotation_api.db.tables import Person, Project, Role
from annotation_api.http.dependencies import ENGINEERS, READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError, valid
from annotation_api.http.schemas import Day as WrittenDay
from annotation_api.web.markup.fields import LEFT_EMPTY
from annotation_api.web.markup.rendering import read_form, render, see_other, text_of
from annotation_api.web.mine import opening
from annotation_api.web.review import said
from annotation_api.web.review.pages import side_by_side

router = APIRouter(prefix="/projects/{project_id}/review", route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]
Day = Annotated[WrittenDay | None, LEFT_EMPTY]
PLACES = ("best", "not_best", "last", "not_last")
UNREADABLE = Sentence("order-unreadable", "Write the order with the letters of the answers, for example A > B = C.")


@router.get("/gold", dependencies=[allow(*READS_RUNS)])
def gold_page(project_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    """The gold items with what people made of them, and the rules that they serve."""
    return _gold_page(request, session, me, projects.find_project(session, project_id))


def _gold_page(
    request: Request, session: Session, me: Person, project: Project, fields: Mapping[str, str] | None = None,
    error: ApiError | None = None,
) -> Response:  # fmt: skip
    items = service.show_items(session, queries.items(session, project.id))
    rules = queries.rules_of(session, project.id)
    shares = {"gold_rate": rules.gold_rate, "bar": rules.bar, "entry": rules.entry}
    return render(
        request,
        "gold.html",
        me,
        error.status if error else 200,
        project=project,
        items=[(item, opening(item.prompt), _expected(session, item)) for item in items],
        rules=rules,
        fields=fields or {name: "" if share is None else f"{100 * share:g}" for name, share in shares.items()},
        owns=me.role in ENGINEERS,
        lifts=me.role is Role.ADMIN,
        error=error.shown if error else None,
    )


def _expected(session: Session, item: Any) -> str:
    return said.expected_in_short(item.expected, _letters(session, item.task))


def _letters(session: Session, task_id: uuid.UUID) -> dict[str, str]:
    """In the order of sampling, as on the page of the task."""
    texts = content_of(session, task_id).texts
    return said.letters([ShownResponse(id=key, text=text) for key, text in texts.items()])


@router.post("/rules", dependencies=[allow(*ENGINEERS)])
def change_rules(project_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    """Set how people are screened; an empty field is no rule. Shares are entered in per cent."""
    project = projects.find_project(session, project_id)
    fields = {name: text_of(form, name).strip() for name in ("gold_rate", "bar", "entry")}
    try:
        patch: dict[str, Any] = {name: _share(text) for name, text in fields.items()}
        patch["gold_rate"] = patch["gold_rate"] or 0.0
        if me.role is Role.ADMIN:
            patch["names_shown"] = text_of(form, "names_shown") == "yes"
        service.change_rules(session, me, project.id, valid(QualityRulesPatch, patch))
    except ApiError as error:
        session.rollback()
        return _gold_page(request, session, me, project, fields, error)
    return see_other(f"/projects/{project.id}/review/gold")


def _share(text: str) -> float | None:
    try:
        return float(text) / 100 if text else None
    except ValueError:
        raise ApiError(
            422, "invalid", Sentence("no-share", "%(text)s is no number: shares are in per cent.", text=repr(text))
        ) from None


@router.post("/tasks/{task_id}/gold", dependencies=[allow(*READS_RUNS)])
def make_gold(project_id: uuid.UUID, task_id: uuid.UUID, request: Request, form: Form, session: Db, me: Me) -> Response:
    """Make the task a gold item: as it was decided, in an order of letters, or with a place for some responses."""
    project = projects.find_project(session, project_id)
    service.find_task(session, project.id, task_id)
    try:
        sent = {"expected": _wanted(session, task_id, form), "why": text_of(form, "why"), "use": text_of(form, "use")}
        service.make_gold(session, me, project.id, task_id, valid(NewGold, sent))
    except ApiError as error:
        session.rollback()
        typed = {name: value for name, value in form.items() if isinstance(value, str)}
        return side_by_side(request, session, me, project, task_id, error=error, expected=typed)
    return see_other(f"/projects/{project.id}/review/tasks/{task_id}#gold")


def _wanted(session: Session, task_id: uuid.UUID, form: FormData) -> dict[str, Any]:
    names = _letters(session, task_id)
    if text_of(form, "as_decided"):
        return _as_decided(session, task_id)
    if order := text_of(form, "order").strip():
        return {"order": _order(order, names)}
    places = {key: text_of(form, f"place-{letter}") for key, letter in names.items()}
    constraints = [{"response": key, "place": place} for key, place in places.items() if place in PLACES]
    if not constraints:
        raise ApiError(
            422,
            "invalid",
            Sentence("nothing-expected", "Say what is expected: an order, or a place for one of the answers."),
        )
    return {"constraints": constraints}


def _as_decided(session: Session, task_id: uuid.UUID) -> dict[str, Any]:
    found = decision_of(session, task_id)
    if found is None:
        raise ApiError(
            422,
            "invalid",
            Sentence("not-decided", "This task is not decided yet. Decide it first, or say what is expected."),
        )
    payload = found[0].payload
    if "answers" in payload:
        return {"answers": _comparable(session, task_id, payload["answers"])}
    return {"order": payload["groups"]} if "groups" in payload else {"verdicts": payload["verdicts"]}


def _comparable(session: Session, task_id: uuid.UUID, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Without words of one's own, which nobody finds again."""
    form = content_of(session, task_id).form
    words = {question.id for question in getattr(form, "questions", ()) if question.kind == "text"}
    if kept := {key: answer for key, answer in answers.items() if key not in words}:
        return kept
    raise ApiError(
        422,
        "invalid",
        Sentence("only-words", "The decision is words alone, which nobody finds again: this task can be no gold item."),
    )


def _order(text: str, names: Mapping[str, str]) -> list[list[uuid.UUID]]:
    """`A > B = C` as groups of responses."""
    groups = [[letter.strip().upper() for letter in group.split("=")] for group in re.split(r"[>›]", text)]
    try:
        return [said.as_ids(group, names) for group in groups]
    except KeyError:
        raise ApiError(422, "invalid", UNREADABLE) from None


@router.post("/tasks/{task_id}/gold/withdraw", dependencies=[allow(*READS_RUNS)])
def withdraw_gold(project_id: uuid.UUID, task_id: uuid.UUID, session: Db) -> Response:
    """Ask it no more."""
    project = projects.find_project(session, project_id)
    service.find_task(session, project.id, task_id)
    if queries.has_item(session, task_id):
        service.withdraw(session, project.id, task_id)
    return see_other(f"/projects/{project.id}/review/tasks/{task_id}#gold")


# ---------------------------------------------------------------- people


@router.get("/annotators", dependencies=[allow(*READS_RUNS)])
def annotators_page(project_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    """Who works how: signals with their evidence, accuracy on gold items, who is paused."""
    project = projects.find_project(session, project_id)
    found = signals.signals(session, me, project.id)
    screened = {row.id: row for row in service.screened(session, me, project.id)}
    silent = [row for row in screened.values() if row.id not in {one.id for one in found}]
    return render(
        request,
        "annotators.html",
        me,
        project=project,
        people=[(one, screened.get(one.id)) for one in found] + [(row, row) for row in silent],
        bar=queries.rules_of(session, project.id).bar,
    )


@router.post("/annotators/{person_id}", dependencies=[allow(*READS_RUNS)])
def change_standing(project_id: uuid.UUID, person_id: uuid.UUID, form: Form, session: Db, me: Me) -> Response:
    """Pause a person here, with a reason, or let them in again."""
    project = projects.find_project(session, project_id)
    if text_of(form, "do") == "resume":
        service.resume(session, project.id, person_id)
    else:
        pause: NewPause = valid(NewPause, {"reason": text_of(form, "reason")})
        service.pause(session, me, project.id, person_id, pause.reason)
    return see_other(f"/projects/{project.id}/review/annotators")


@dataclass
class PersonHours:
    """All days of a person, whom the pseudonym names: two people may have one name."""

    annotator: str
    name: str | None
    seconds: float = 0.0
    tasks: int = 0

    def add(self, day: WorkDay) -> None:
        self.seconds += day.seconds
        self.tasks += day.tasks


@router.get("/hours", dependencies=[allow(*READS_RUNS)])
def hours_page(
    project_id: uuid.UUID, request: Request, session: Db, me: Me, since: Day = None, until: Day = None
) -> Response:
    """Time at work by person and day."""
    project = projects.find_project(session, project_id)
    found = hours(session, me, project.id, *period(since, until))
    by_person: dict[str, PersonHours] = {}
    for item in found.items:
        by_person.setdefault(item.annotator, PersonHours(item.annotator, item.name)).add(item)
    return render(request, "hours.html", me, project=project, found=found, by_person=list(by_person.values()))
