"""Pages that erase: what will go is shown before anything does; then a job, whose page says how far it is."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence, unpacked
from alignment.shared.validation import explain
from annotation_api.db.tables import Dataset, Erasure, Person, Project, Task
from annotation_api.erasure import service
from annotation_api.erasure.schemas import ErasureTarget, NewErasure
from annotation_api.http import audit as recording
from annotation_api.http.dependencies import ENGINEERS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError
from annotation_api.web.markup.rendering import read_form, render, see_other, text_of

router = APIRouter(prefix="/erasures", dependencies=[allow(*ENGINEERS)], route_class=DoorRoute)
Form = Annotated[FormData, Depends(read_form)]
FIELDS = ("scope", "task", "dataset", "row", "part", "person", "project")


@router.get("")
def erasures_page(request: Request, session: Db, me: Me) -> Response:
    """What was erased, and why."""
    return render(request, "erasures.html", me, rows=service.listed(session, me))


@router.get("/new")
def plan_page(request: Request, session: Db, me: Me) -> Response:
    """What would go; the address names the target."""
    given = {name: value for name in FIELDS if (value := request.query_params.get(name))}
    return _plan(request, session, me, given)


@router.post("")
def erase(request: Request, form: Form, session: Db, me: Me) -> Response:
    """Erase what was shown, for a reason."""
    given = {name: value for name in FIELDS if (value := text_of(form, name))}
    try:
        row = service.ask(session, me, NewErasure.model_validate({**given, "reason": text_of(form, "reason").strip()}))
    except ValidationError:
        return _plan(request, session, me, given, "Say why, in three letters or more.", text_of(form, "reason"))
    except ApiError as refusal:
        return _plan(request, session, me, given, refusal.detail, text_of(form, "reason"))
    request.scope[recording.OBJECTS] = {"made": f"/v1/erasures/{row.id}"}
    return see_other(f"/erasures/{row.id}")


@router.get("/{erasure_id}")
def erasure_page(erasure_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    """How far it is, and what it emptied; asks again by itself."""
    row = service.find(session, me, erasure_id)
    return render(
        request, "erasure.html", me, row=row, error=unpacked(row.error or ""), target=_words_of_row(session, row)
    )


def _plan(
    request: Request, session: Session, me: Person, given: dict[str, str], error: str | None = None, reason: str = ""
) -> Response:
    try:
        target = ErasureTarget.model_validate(given)
    except ValidationError as wrong:
        english, first = "This address names nothing to erase: %(msg)s.", explain(wrong, ErasureTarget)[0]
        raise ApiError(422, "invalid", Sentence("nothing-to-erase", english, msg=first.message)) from None
    plan = service.preview(session, me, target)
    context = {"given": given, "plan": plan, "target": _words(session, target), "error": error, "reason": reason}
    return render(request, "erasure_plan.html", me, 409 if error else 200, **context)


def _words(session: Session, target: ErasureTarget) -> dict[str, str]:
    """What the page calls it: the scope, a name, and the project that it is limited to."""
    project = session.get(Project, target.project) if target.project else None
    name = project.name if project else ""
    if target.task and (task := session.get(Task, target.task)):
        name = str(task.id)
    if target.dataset and (dataset := session.get(Dataset, target.dataset)):
        name = f"{dataset.name}, {target.row}"
    if target.person and (person := session.get(Person, target.person)):
        name = person.pseudonym
    return {"scope": target.scope.value, "name": name, "within": project.name if project else ""}


def _words_of_row(session: Session, row: Erasure) -> dict[str, str]:
    project = session.get(Project, row.project_id) if row.project_id else None
    person = session.get(Person, uuid.UUID(row.target["person"])) if "person" in row.target else None
    within = project.name if project else ""
    name = person.pseudonym if person else row.target.get("key", "")[:16] or within
    return {"scope": row.scope.value, "name": name, "within": within}
