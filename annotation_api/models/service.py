"""The registry: base models come in by a checked folder, the others by their jobs."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.db.erasing import marks
from annotation_api.db.tables import Alias, AliasMove, Dataset, ModelKind, ModelVersion, Person, Snapshot
from annotation_api.http.errors import invalid, not_found
from annotation_api.models import folders, queries, uploads
from annotation_api.models.schemas import ErasedFromOut, ModelOut, NewModel, ShownModel
from annotation_api.models.uploads import ModelUpload
from annotation_api.settings import Settings

ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def register(session: Session, settings: Settings, body: NewModel) -> tuple[ModelVersion, bool]:
    """A base model, and whether it is new: what is registered already stays as it is, under its name.

    422 when the folder or hub id cannot be used.
    """
    path = folders.resolve(body.path, settings)
    sha256 = folders.manifest_hash(path)
    queries.hold_path(session, path)
    if found := queries.base_at(session, path, sha256):
        return found, False
    metrics = folders.base_under(path, settings)  # a worker asks whether it still is that one
    row = ModelVersion(name=body.name, kind=ModelKind.BASE, path=path, sha256=sha256, metrics=metrics)
    session.add(row)
    session.flush()
    return row, True


def register_upload(
    session: Session, settings: Settings, upload: ModelUpload, sha256: Mapping[str, str]
) -> ModelVersion:
    """The base model that was sent, checked as any folder is; 422 with what is wrong, and the upload stays."""
    session.commit()  # the caller is known; a connection is not held while gigabytes are hashed
    if upload.files.is_dir():
        uploads.check_hashes(upload, sha256)
        folders.check_upload(upload.files, settings, upload.name)
    path = str(uploads.publish(upload))
    queries.hold_path(session, path)
    if found := queries.base_at(session, path, None):
        return found
    metrics = folders.base_under(path, settings)
    row = ModelVersion(name=upload.name, kind=ModelKind.BASE, path=path, sha256=None, metrics=metrics)
    session.add(row)
    session.flush()
    return row


def drop_alias(session: Session, me: Person, name: str) -> None:
    """Let the name stand for nothing any more; jobs that were made by it keep their model."""
    queries.hold_alias(session, name)
    if not queries.drop_alias(session, name):
        raise not_found("alias", name)
    session.add(AliasMove(name=name, model_id=None, moved_by=me.id, created_at=func.clock_timestamp()))


def alias_moves(session: Session, name: str) -> Sequence[AliasMove]:
    """What the alias has stood for, the newest first; 404 for a name that never was one."""
    found = queries.alias_moves(session, [name])
    if not found:
        raise not_found("alias", name)
    return found


def get_model(session: Session, key: uuid.UUID) -> ModelVersion:
    found = session.get(ModelVersion, key)
    if found is None:
        raise not_found("model", key)
    return found


def show_model(session: Session, model: ModelVersion) -> ShownModel:
    """With what became of its data since."""
    erased = marks.of_models(session, [model.id]).get(model.id)
    known = ModelOut.model_validate(model).model_dump()
    return ShownModel(**known, erased=ErasedFromOut.model_validate(erased) if erased else None)


def get_snapshot(session: Session, key: uuid.UUID) -> Snapshot:
    found = session.get(Snapshot, key)
    if found is None:
        raise not_found("snapshot", key)
    return found


def get_dataset(session: Session, key: uuid.UUID) -> Dataset:
    found = session.get(Dataset, key)
    if found is None:
        raise not_found("data set", key)
    return found


def point_alias(session: Session, me: Person, name: str, model: uuid.UUID, why: str = "") -> Alias:
    """Let `name` stand for the model from now on, and remember that it does; saying it again changes nothing."""
    if not ALIAS.fullmatch(name):
        message = Sentence(
            "alias-fits",
            "Use up to 63 small letters, digits, dots, dashes and underscores, beginning with a letter or digit.",
        )
        raise invalid([Problem(pointer="path:name", message=message, value=name[:80])])
    found = session.get(ModelVersion, model)
    if found is None or found.removed_at:
        message = (
            Sentence("no-such-model", "There is no such model.")
            if found is None
            else Sentence("files-removed", "Its files were removed; train it again.")
        )
        raise invalid([Problem(pointer="/model", message=message, value=str(model))])
    queries.hold_alias(session, name)
    if session.scalar(select(Alias.model_id).where(Alias.name == name)) != model or why:
        session.add(AliasMove(name=name, model_id=model, why=why, moved_by=me.id, created_at=func.clock_timestamp()))
    queries.point_alias(session, name, model)
    return session.get_one(Alias, name, populate_existing=True)
