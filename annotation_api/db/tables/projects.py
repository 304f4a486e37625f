"""Projects, who belongs to them, and the forms that say what they ask."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Text, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from annotation_api.db.tables.base import Base, new_id, now, text_enum


class Project(Base):
    __tablename__ = "projects"
    id: Mapped[uuid.UUID] = new_id()
    name: Mapped[str] = mapped_column(unique=True)
    guidelines: Mapped[str] = mapped_column(server_default="")
    overlap: Mapped[int] = mapped_column(server_default=sql("1"))  # judgements wanted for a task
    responses_per_task: Mapped[int] = mapped_column(server_default=sql("4"))  # K of tasks made from prompts
    lease_seconds: Mapped[int] = mapped_column(server_default=sql("300"))
    daily_limit: Mapped[int | None]  # tasks that a person may judge in a day; unset: no limit
    open: Mapped[bool] = mapped_column(server_default=sql("true"))  # to everybody; else to its members and admins
    closed_at: Mapped[datetime | None]  # since when nobody gets a task of it
    archived_at: Mapped[datetime | None]  # since when it is out of the lists; then it is closed, too
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = now()


class ProjectMember(Base):
    """Sees the project and what hangs on it, as far as the role goes."""

    __tablename__ = "project_members"
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), primary_key=True, index=True)
    languages: Mapped[list[str] | None] = mapped_column(ARRAY(Text))  # of the prompts that they get; unset: any
    created_at: Mapped[datetime] = now()


class FeedbackKind(StrEnum):
    """The three forms in which people judge; a task, its form and its submissions are of one kind."""

    RANKING = "ranking"  # an order of K responses
    QUESTIONS = "questions"  # answers to fixed questions on a response or a pair
    RULES = "rules"  # whether a response breaks rules


class Form(Base):
    """What is asked in a task, as data (`db.forms`). Never changed: a new wording is a new version."""

    __tablename__ = "forms"
    __table_args__ = (UniqueConstraint("project_id", "kind", "version"),)
    id: Mapped[uuid.UUID] = new_id()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    kind: Mapped[FeedbackKind] = mapped_column(text_enum(FeedbackKind))
    version: Mapped[int]  # from 1, for a kind in a project; the newest is used by new tasks
    spec: Mapped[dict[str, Any]]
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = now()
