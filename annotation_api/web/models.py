"""Pages on models: what there is, where it came from, and what came of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from annotation_api.db.erasing import marks
from annotation_api.db.tables import ModelKind, ModelVersion, Person
from annotation_api.http.dependencies import ENGINEERS, READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import ApiError, valid
from annotation_api.http.pagination import fetch_rows
from annotation_api.models import service as models
from annotation_api.models.descent import derived
from annotation_api.models.lineage import lineage
from annotation_api.models.schemas import Lineage, NewAlias, Node
from annotation_api.web import queries
from annotation_api.web.markup.fields import LEFT_EMPTY, Words
from annotation_api.web.markup.rendering import read_form, render, see_other, text_of
from annotation_api.web.markup.returned import NOTHING_SENT, Returned, returned
from annotation_api.web.runs import registry, titles
from annotation_api.web.start import forms

router = APIRouter(route_class=DoorRoute)
ChosenKind = Annotated[ModelKind | None, LEFT_EMPTY]


@router.get("/models", dependencies=[allow(*READS_RUNS)])
def models_page(
    request: Request, session: Db, me: Me, kind: ChosenKind = None, tag: Words = "", name: Words = "", sort: Words = ""
) -> Response:
    """The models with the numbers by which people choose: of a kind, a tag, a part of a name; the best first."""
    query = registry.found(kind, tag, name)
    rows, _ = fetch_rows(session, query, ModelVersion, limit=registry.MOST, cursor=None)
    found, called = (
        registry.lines(session, rows, queries.aliases_by_model(session)),
        titles.of_models(session, [row.id for row in rows]),
    )
    return render(
        request,
        "models.html",
        me,
        lines=registry.ordered(found, called, sort),
        titles=called,
        columns=registry.columns_of(found),
        kinds=list(ModelKind),
        chosen={"kind": kind or "", "tag": tag, "name": name, "sort": sort},
        history=registry.history(session, registry.ROLES),
    )


@router.get("/models/{model_id}", dependencies=[allow(*READS_RUNS)])
def model_page(model_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    return shown_model(request, session, me, model_id)


def shown_model(
    request: Request, session: Session, me: Person, model_id: uuid.UUID, back: Returned = NOTHING_SENT
) -> Response:
    """The page of a model; `back` is one of its forms that comes again."""
    model = models.get_model(session, model_id)
    aliases = queries.aliases_by_model(session).get(model.id, [])
    graph, after = lineage(session, model), derived(session, model)
    return render(
        request,
        "model.html",
        me,
        back.status,
        returned=back,
        model=model,
        erased=marks.of_models(session, [model.id]).get(model.id),
        aliases=aliases,
        history=registry.history(session, [*aliases, *registry.ROLES]),
        roles=registry.ROLES,
        tree=branches(graph),
        descent=branches(after, forward=True),
        titles=titles.of_nodes(session, [node.id for node in (*graph.nodes, *after.nodes)]),
        report=queries.report_of(session, model.job_id),
    )


@router.post("/models/{model_id}/alias", dependencies=[allow(*ENGINEERS)])
def name_model(
    request: Request,
    model_id: uuid.UUID,
    session: Db,
    me: Me,
    form: Annotated[FormData, Depends(read_form)],
) -> Response:
    """Let an alias, such as champion, stand for the model from now on; on an error the form comes back."""
    model = models.get_model(session, model_id)
    try:
        given = valid(NewAlias, {"model": model.id, "why": text_of(form, "why").replace("\r\n", "\n").strip()})
        models.point_alias(session, me, text_of(form, "alias").strip(), given.model, given.why)
    except ApiError as error:
        session.rollback()
        back = returned("alias", forms.posted(form), error, ("alias", "why"), {"path:name": "alias"})
        return shown_model(request, session, me, model_id, back)
    return see_other(f"/models/{model_id}")


# How a relation reads the other way round.
FORWARD = {
    "frozen from": "frozen as",
    "read": "read by",
    "start": "start of",
    "made by": "made",
    "trained on": "trained",
    "reward_model": "judge of",
}


@dataclass(frozen=True)
class Branch:
    """A line of the lineage as a tree; what appeared before is named again but not unfolded."""

    depth: int
    relation: str
    node: Node
    again: bool


def branches(graph: Lineage, *, forward: bool = False) -> list[Branch]:
    """A graph as indented lines, depth first from its first node: back to origins, or forward to what came of it."""
    nodes = {node.id: node for node in graph.nodes}
    steps: dict[uuid.UUID, list[tuple[uuid.UUID, str]]] = {}
    for edge in graph.edges:
        if forward:
            steps.setdefault(edge.target, []).append((edge.source, FORWARD.get(edge.relation, edge.relation)))
        else:
            steps.setdefault(edge.source, []).append((edge.target, edge.relation))
    lines: list[Branch] = []
    seen: set[uuid.UUID] = set()
    waiting = [(graph.nodes[0].id, 0, "")]
    while waiting:
        key, depth, relation = waiting.pop()
        lines.append(Branch(depth, relation, nodes[key], key in seen))
        if key not in seen:
            seen.add(key)
            waiting += [(there, depth + 1, how) for there, how in reversed(steps.get(key, []))]
    return lines
