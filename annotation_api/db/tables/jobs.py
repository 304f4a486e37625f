"""The queue: pipelines, jobs and their attempts, and who works on them."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, CheckConstraint, ColumnElement, Float, ForeignKey, Index
from sqlalchemy import text as sql
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from alignment.shared.config import Stage
from annotation_api.db.kinds import JobState
from annotation_api.db.tables.base import Base, new_id, notes_text, now, tag_list, text_enum


class Pipeline(Base):
    """SFT, reward and PPO in turn; its state is read off its jobs, what it is called off its body."""

    __tablename__ = "pipelines"
    id: Mapped[uuid.UUID] = new_id()
    spec: Mapped[dict[str, Any]]  # the body that it was made with, under the labels that people have given it since
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = now()

    if TYPE_CHECKING:  # a hybrid is no settable attribute to the checker
        name: Any
        notes: Any
        tags: Any
    else:

        @hybrid_property
        def name(self) -> str | None:
            return self.spec.get("name")

        @name.inplace.setter
        def _set_name(self, name: str) -> None:
            self.spec = {**self.spec, "name": name}

        @name.inplace.expression
        @classmethod
        def _name_in_sql(cls) -> ColumnElement[str]:
            return cls.spec["name"].astext

        @hybrid_property
        def notes(self) -> str:
            return str(self.spec.get("notes", ""))

        @notes.inplace.setter
        def _set_notes(self, notes: str) -> None:
            self.spec = {**self.spec, "notes": notes}

        @hybrid_property
        def tags(self) -> list[Any]:
            return list(self.spec.get("tags", ()))

        @tags.inplace.setter
        def _set_tags(self, tags: list[Any]) -> None:
            self.spec = {**self.spec, "tags": tags}

        @tags.inplace.expression
        @classmethod
        def _tags_in_sql(cls) -> ColumnElement[Any]:
            return cls.spec["tags"]


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        Index(
            "ix_jobs_claim",
            sql("priority DESC"),
            "created_at",
            "id",
            postgresql_where=sql("state = 'queued'"),
        ),
        Index("ix_jobs_list", "created_at", "id"),
        Index("ix_jobs_live", "created_by", postgresql_where=sql("lease_until IS NOT NULL")),
        CheckConstraint("(lease_until IS NULL) = (state NOT IN ('starting', 'running', 'committing'))", name="lease"),
    )
    id: Mapped[uuid.UUID] = new_id()
    stage: Mapped[Stage] = mapped_column(text_enum(Stage))
    state: Mapped[JobState] = mapped_column(text_enum(JobState))
    reason: Mapped[str | None]
    reason_detail: Mapped[str | None]  # what exactly it waits for
    reason_since: Mapped[datetime | None]
    pipeline_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("pipelines.id"), index=True)
    name: Mapped[str | None]
    notes: Mapped[str] = notes_text()
    tags: Mapped[list[Any]] = tag_list()
    inputs: Mapped[dict[str, Any]]  # model, reward_model: {"model": id} or {"job": id}; snapshots: {"snapshot": id}
    config: Mapped[dict[str, Any]]  # resolved: every setting of the stage's config class
    preset: Mapped[str | None]  # that it was made with, or DEFAULTS; none: made before this was kept
    gpus: Mapped[float] = mapped_column(Float, server_default=sql("1"))
    allow_cpu: Mapped[bool] = mapped_column(Boolean, server_default=sql("false"))  # while the cluster has no GPU
    priority: Mapped[int] = mapped_column(server_default=sql("0"))
    epoch: Mapped[int] = mapped_column(server_default=sql("0"))  # the fence: rises with each claim
    lease_until: Mapped[datetime | None]
    claimed_by: Mapped[str | None]  # host:pid of the launcher (before it starts: of the dispatcher)
    attempts: Mapped[int] = mapped_column(server_default=sql("0"))  # in a row that saved nothing new, this one included
    max_attempts: Mapped[int] = mapped_column(server_default=sql("5"))
    interruptions: Mapped[int] = mapped_column(server_default=sql("0"))  # in a row: Ray or Postgres was lost
    saved_step: Mapped[int | None]  # the furthest checkpoint
    cancel_requested: Mapped[bool] = mapped_column(Boolean, server_default=sql("false"))
    pause_requested: Mapped[bool] = mapped_column(Boolean, server_default=sql("false"))
    not_before: Mapped[datetime | None]  # backoff after a failed attempt
    progress: Mapped[dict[str, Any] | None]  # the newest events.Progress, with the device in use
    result: Mapped[dict[str, Any] | None]  # {"model": id, "metrics": {...}, "details": {...}}
    error: Mapped[dict[str, Any] | None]  # {"kind", "cause", "next_step", "traceback", "log"}
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = now()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobDependency(Base):
    """`job_id` stays blocked until `needs_id` has succeeded."""

    __tablename__ = "job_dependencies"
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    needs_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    QUEUED = "queued"  # it gave the job back, or its process died: the job is tried again
    LOST = "lost"  # its lease ran out
    PAUSED = "paused"
    CANCELLED = "cancelled"


class JobAttempt(Base):
    """One claim of a job and how it ended; still at work while `ended_at` is empty."""

    __tablename__ = "job_attempts"
    __table_args__ = (Index("ix_job_attempts_ended", "outcome", postgresql_where=sql("ended_at IS NOT NULL")),)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str]  # host:pid
    claimed_at: Mapped[datetime]
    started_at: Mapped[datetime | None]  # the stage reported its first step
    ended_at: Mapped[datetime | None]
    waited_seconds: Mapped[float] = mapped_column(Float, server_default=sql("0"))  # for a GPU
    outcome: Mapped[AttemptOutcome | None] = mapped_column(text_enum(AttemptOutcome))
    error: Mapped[dict[str, Any] | None]  # as the job's, of this attempt


class RayState(StrEnum):
    """What a dispatcher knows of Ray."""

    LOCAL = "local"  # each attempt starts its own
    UP = "up"  # launchers get into the cluster
    DOWN = "down"  # launchers do not get into the cluster
    UNUSED = "unused"  # stages run as plain processes


class HomeRow(Base):
    """The one folder in which this database's files lie; dispatchers with another one are refused."""

    __tablename__ = "homes"
    __table_args__ = (CheckConstraint("one", name="one"),)
    one: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=sql("true"))
    mark: Mapped[str]  # what its file home.id holds
    path: Mapped[str]  # as the first machine that came knows it
    host: Mapped[str]
    since: Mapped[datetime] = now()


class DispatcherRow(Base):
    """A dispatcher that says now and then that it is there."""

    __tablename__ = "dispatchers"
    id: Mapped[str] = mapped_column(primary_key=True)  # host:pid
    slots: Mapped[int]
    busy: Mapped[int]
    ray: Mapped[RayState] = mapped_column(text_enum(RayState))
    started_at: Mapped[datetime] = now()
    seen_at: Mapped[datetime] = now()
