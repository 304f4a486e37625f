"""The page on which a base model is registered: what the folder is stands there before it is in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from pydantic import ValidationError

from alignment.shared.validation import explain
from annotation_api.db.tables import Person
from annotation_api.http import audit as recording
from annotation_api.http.dependencies import ENGINEERS, Config, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError
from annotation_api.models import checking, service
from annotation_api.models.schemas import CheckedModel, NewModel
from annotation_api.settings import Settings
from annotation_api.web.markup.rendering import render, see_other

router = APIRouter(route_class=DoorRoute)
Field = Annotated[str, Form(max_length=4096)]


@router.get("/models/new", dependencies=[allow(*ENGINEERS)])
def register_page(request: Request, me: Me, settings: Config) -> Response:
    return _page(request, me, settings)


@router.post("/models", dependencies=[allow(*ENGINEERS)])
def register_model(
    request: Request, session: Db, me: Me, settings: Config, path: Field = "", name: Field = "", do: Field = ""
) -> Response:
    """Check the folder, or register it; what is registered already is shown as it is."""
    path, name = path.strip(), name.strip()
    try:
        if do == "check":
            recording.nothing_done(request)
            return _page(request, me, settings, path, name, checked=checking.check(session, path, settings))
        body = NewModel.model_validate({"path": path, "name": name or Path(path).name})
        return see_other(f"/models/{service.register(session, settings, body)[0].id}")
    except ValidationError as error:
        wrong = [each.message for each in explain(error, NewModel)]
    except ApiError as error:
        wrong = [each.message for each in error.problems] or [error.detail]
    session.rollback()
    return _page(request, me, settings, path, name, wrong)


def _page(
    request: Request,
    me: Person,
    settings: Settings,
    path: str = "",
    name: str = "",
    wrong: list[str] | None = None,
    checked: CheckedModel | None = None,
) -> Response:
    found = {"path": path, "name": name, "wrong": wrong or [], "checked": checked}
    roots, hub = [str(root) for root in settings.model_roots], settings.hub_models
    return render(request, "register_model.html", me, 422 if wrong else 200, **found, roots=roots, hub=hub)
