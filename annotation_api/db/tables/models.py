"""The registry: model versions, where they come from, their names."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from alignment.shared.config import Stage
from annotation_api.db.kinds import ModelKind
from annotation_api.db.tables.base import Base, new_id, notes_text, now, tag_list, text_enum

# What each training stage makes.
MAKES = {Stage.SFT: ModelKind.SFT, Stage.REWARD: ModelKind.REWARD, Stage.PPO: ModelKind.POLICY}


def made_name(stage: Stage, job: uuid.UUID) -> str:
    """The name of the version that a job makes, until somebody gives it another."""
    return f"{MAKES[stage].value}-{str(job)[:8]}"


class ModelVersion(Base):
    """A model in the registry. Its folder holds safetensors and was whole before the row came."""

    __tablename__ = "model_versions"
    id: Mapped[uuid.UUID] = new_id()
    name: Mapped[str]
    kind: Mapped[ModelKind] = mapped_column(text_enum(ModelKind))
    path: Mapped[str]  # a folder of the service's machine, or a hub id; clients send ids, never this
    sha256: Mapped[str | None] = mapped_column(String(64))  # of the manifest
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id"), unique=True)  # a job makes one version
    snapshot_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("snapshots.id"))
    metrics: Mapped[dict[str, Any]] = mapped_column(server_default=sql("'{}'::jsonb"))
    notes: Mapped[str] = notes_text()
    tags: Mapped[list[Any]] = tag_list()
    created_at: Mapped[datetime] = now()
    removed_at: Mapped[datetime | None]  # its folder is gone: `rankloop prune`


class ModelParent(Base):
    __tablename__ = "model_parents"
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    parent_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    relation: Mapped[str]  # start, reward_model


class Alias(Base):
    """A movable name: champion, sft-current."""

    __tablename__ = "aliases"
    name: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    updated_at: Mapped[datetime] = now()


class AliasMove(Base):
    """What an alias stood for from then on; nothing when it was taken away."""

    __tablename__ = "alias_moves"
    id: Mapped[uuid.UUID] = new_id()
    name: Mapped[str] = mapped_column(index=True)
    model_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("model_versions.id"))
    why: Mapped[str] = notes_text()
    moved_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("people.id"))  # unset: before moves were kept
    created_at: Mapped[datetime] = now()
