"""The work of the annotators: tasks, who has them, what was said."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, FetchedValue, ForeignKey, Identity, Index, String
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from annotation_api.db.tables.base import Base, new_id, now, text_enum
from annotation_api.db.tables.projects import FeedbackKind


class Task(Base):
    """Responses of one prompt to be judged by `overlap` people: K to rank, one or two to ask about."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index("ix_tasks_list", "project_id", "created_at", "id"),
        Index(
            "ix_tasks_open",
            "project_id",
            sql("priority DESC"),
            "created_at",
            "id",
            postgresql_where=sql("judged < overlap"),
        ),
        Index("ix_tasks_prompt", "prompt_id"),
        Index("ix_tasks_removed", "project_id", "created_at", postgresql_where=sql("removed_overlap IS NOT NULL")),
        Index("ix_tasks_several", "project_id", "created_at", "id", postgresql_where=sql("judged >= 2 AND NOT gold")),
    )
    id: Mapped[uuid.UUID] = new_id()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    prompt_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("prompts.id"))
    kind: Mapped[FeedbackKind] = mapped_column(text_enum(FeedbackKind), server_default="ranking")
    form_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("forms.id"))
    rules: Mapped[list[Any] | None]  # of a rules task: the ids to probe; unset: all of the form
    overlap: Mapped[int]
    judged: Mapped[int] = mapped_column(server_default=sql("0"))  # submitted assignments; changed under the row's lock
    removed_overlap: Mapped[int | None]  # what it was before the task was taken out of the queue; unset: it is in it
    priority: Mapped[int] = mapped_column(server_default=sql("0"))
    gold: Mapped[bool] = mapped_column(server_default=sql("false"))  # its answer is known (GoldItem); `overlap` is 0
    created_at: Mapped[datetime] = now()


class TaskResponse(Base):
    __tablename__ = "task_responses"
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)  # from 0; the order of sampling, never shown
    response_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("responses.id"))


class AssignmentState(StrEnum):
    LEASED = "leased"  # a person has it, until lease_until
    SUBMITTED = "submitted"  # a judgement came
    SKIPPED = "skipped"  # the person passed, with a reason
    EXPIRED = "expired"  # the lease ran out and somebody else may have the place


class Assignment(Base):
    __tablename__ = "assignments"
    __table_args__ = (
        Index(
            "uq_assignments_live",
            "task_id",
            "person_id",
            unique=True,
            postgresql_where=sql("state IN ('leased', 'submitted', 'skipped')"),
        ),
        Index("ix_assignments_person", "person_id", "state"),
        Index("ix_assignments_skipped", "person_id", "task_id", postgresql_where=sql("state = 'skipped'")),
    )
    id: Mapped[uuid.UUID] = new_id()
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"), index=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    state: Mapped[AssignmentState] = mapped_column(text_enum(AssignmentState))
    display_order: Mapped[list[Any]]  # response ids as strings, in the order shown
    lease_until: Mapped[datetime]
    skip_reason: Mapped[str | None]
    created_at: Mapped[datetime] = now()


class Submission(Base):
    """Append-only. A correction is a new row that supersedes the old one.

    Project and person are those of its assignment; a trigger fills them in, so that nobody joins two tables to ask for
    one person's or one project's.
    """

    __tablename__ = "submissions"
    __table_args__ = (
        Index("ix_submissions_person", "person_id", "seq"),
        Index("ix_submissions_person_list", "person_id", "created_at", "id"),
        Index("ix_submissions_project", "project_id", "kind", "seq"),
        Index("ix_submissions_list", "project_id", "created_at", "id"),
        Index("ix_submissions_pace", "project_id", "active_ms"),
        Index("ix_submissions_flagged", "project_id", "seq", postgresql_where=sql("payload ? 'flags'")),
        Index("ix_submissions_noted", "project_id", "seq", postgresql_where=sql("payload ? 'note'")),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)  # made by the client: a retry is the same row
    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    assignment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("assignments.id"), index=True)
    supersedes: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("submissions.id"), unique=True)
    kind: Mapped[FeedbackKind] = mapped_column(text_enum(FeedbackKind), server_default="ranking")
    payload: Mapped[dict[str, Any]]  # the payload of its kind in `db.forms`, without defaults
    payload_hash: Mapped[str] = mapped_column(String(64))
    active_ms: Mapped[int | None]  # with the page in view and in use
    total_ms: Mapped[int | None]  # from the first sight of the task
    created_at: Mapped[datetime] = now()
    project_id: Mapped[uuid.UUID] = mapped_column(server_default=FetchedValue())
    person_id: Mapped[uuid.UUID] = mapped_column(server_default=FetchedValue())
    erased_at: Mapped[datetime | None]  # the payload says nothing since then


class Draft(Base):
    """What stands in a form that was not submitted. Never an answer; gone once there is one."""

    __tablename__ = "drafts"
    assignment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("assignments.id"), primary_key=True)
    payload: Mapped[dict[str, Any]]  # as the page wrote it; checked for size only
    updated_at: Mapped[datetime] = now()
