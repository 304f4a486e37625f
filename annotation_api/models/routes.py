"""/v1/models and /v1/aliases."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Response

from annotation_api.db.tables import ModelKind, ModelVersion
from annotation_api.http.dependencies import ENGINEERS, READS_RUNS, Config, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.idempotency import Made, Once
from annotation_api.http.labels import By, Labels, label, labelled
from annotation_api.http.pagination import Cursor, Limit, NextPage, Page, fetch_page
from annotation_api.models import checking, queries, service
from annotation_api.models.descent import derived
from annotation_api.models.lineage import lineage
from annotation_api.models.schemas import (
    AliasMoveOut,
    AliasOut,
    CheckedModel,
    Lineage,
    ModelOut,
    ModelPath,
    NewAlias,
    NewModel,
    ShownModel,
)

router = APIRouter(prefix="/v1", tags=["models"], route_class=DoorRoute)


@router.post(
    "/models",
    status_code=201,
    response_model=ModelOut,
    responses={200: {"model": ModelOut, "description": "It is registered already, perhaps under another name."}},
    dependencies=[allow(*ENGINEERS)],
)
def register_model(body: NewModel, session: Db, settings: Config, once: Once) -> Response:
    """Register a base model: a folder of the service's machine below an allowed root, or an allowed hub id.

    A folder or hub id is registered once: asking again answers with what there is.
    """

    def make() -> Made:
        row, new = service.register(session, settings, body)
        return Made(ModelOut.model_validate(row), 201 if new else 200)

    return once.run(make, location="/v1/models/{id}")


@router.post("/models:check", dependencies=[allow(*ENGINEERS)])
def check_model(body: ModelPath, session: Db, settings: Config) -> CheckedModel:
    """What a folder is, and whether each stage can use it; registers nothing. Takes some seconds."""
    return checking.check(session, body.path, settings)


@router.get("/models", dependencies=[allow(*READS_RUNS)])
def list_models(
    session: Db,
    more: NextPage,
    kind: ModelKind | None = None,
    by: By = (None, None),
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ModelOut]:
    """Model versions, newest first."""
    query = labelled(queries.models(kind), ModelVersion, by)
    items, after = fetch_page(session, query, ModelVersion, ModelOut.model_validate, limit=limit, cursor=cursor)
    return more.page(items, after)


@router.get("/models/{model_id}", dependencies=[allow(*READS_RUNS)])
def show_model(model_id: uuid.UUID, session: Db) -> ShownModel:
    """One model version."""
    return service.show_model(session, service.get_model(session, model_id))


@router.patch("/models/{model_id}", dependencies=[allow(*ENGINEERS)])
def label_model(model_id: uuid.UUID, body: Labels, session: Db) -> ModelOut:
    """Give a model another name, notes or tags; what is left out stays."""
    return ModelOut.model_validate(label(service.get_model(session, model_id), body))


@router.get("/models/{model_id}/lineage", dependencies=[allow(*READS_RUNS)])
def show_lineage(model_id: uuid.UUID, session: Db) -> Lineage:
    """The graph from a model back to the annotations that it learned from."""
    return lineage(session, service.get_model(session, model_id))


@router.get("/models/{model_id}/derived", dependencies=[allow(*READS_RUNS)])
def derived_from_model(model_id: uuid.UUID, session: Db) -> Lineage:
    """The jobs that read a model and the models that came of it, and so on."""
    return derived(session, service.get_model(session, model_id))


@router.get("/snapshots/{snapshot_id}/derived", dependencies=[allow(*ENGINEERS)])
def derived_from_snapshot(snapshot_id: uuid.UUID, session: Db) -> Lineage:
    """The jobs that read a snapshot and the models that came of it, and so on."""
    return derived(session, service.get_snapshot(session, snapshot_id))


@router.get("/datasets/{dataset_id}/derived", dependencies=[allow(*ENGINEERS)])
def derived_from_dataset(dataset_id: uuid.UUID, session: Db) -> Lineage:
    """The snapshots that were frozen from a data set, and all that came of them."""
    return derived(session, service.get_dataset(session, dataset_id))


@router.get("/aliases", dependencies=[allow(*READS_RUNS)])
def list_aliases(session: Db) -> list[AliasOut]:
    """Every alias and the model that it stands for now."""
    return [AliasOut.model_validate(row) for row in queries.aliases(session)]


@router.put("/aliases/{name}", dependencies=[allow(*ENGINEERS)])
def put_alias(name: str, body: NewAlias, session: Db, me: Me) -> AliasOut:
    """Make an alias or move it to another model."""
    return AliasOut.model_validate(service.point_alias(session, me, name, body.model, body.why))


@router.get("/aliases/{name}/history", dependencies=[allow(*READS_RUNS)])
def alias_history(name: str, session: Db) -> list[AliasMoveOut]:
    """What an alias has stood for, the newest first; 404 for a name that never was one."""
    return [AliasMoveOut.model_validate(row) for row in service.alias_moves(session, name)]


@router.delete("/aliases/{name}", status_code=204, dependencies=[allow(*ENGINEERS)])
def delete_alias(name: str, session: Db, me: Me) -> None:
    """Take an alias away; the model stays, and jobs that were made by the alias keep it."""
    service.drop_alias(session, me, name)
