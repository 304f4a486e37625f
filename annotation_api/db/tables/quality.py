"""Whose work can be trusted, and who looks after it: gold items, reviews, decisions, comments."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from annotation_api.db.tables.base import Base, new_id, now, text_enum
from annotation_api.db.tables.projects import FeedbackKind


class QualityRules(Base):
    """How a project screens those who judge. Without a row nobody is screened."""

    __tablename__ = "quality_rules"
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    gold_rate: Mapped[float] = mapped_column(server_default=sql("0"))  # the share of claims that bring a gold item
    bar: Mapped[float | None]  # accuracy on gold items below which a person is paused; unset: nobody is
    entry: Mapped[float | None]  # the share of the qualification set that must be right; unset: everybody may enter
    names_shown: Mapped[bool] = mapped_column(server_default=sql("false"))  # to reviewers, beside the pseudonyms


class GoldUse(StrEnum):
    """When a gold item is asked."""

    MIXED = "mixed"  # now and then between other tasks, so that nobody knows which it is
    ENTRY = "entry"  # before a person's first task of the project, with a word on each answer


class GoldItem(Base):
    """A task whose answer is known. It takes no places (`overlap` 0), and what is said of it is never trained on."""

    __tablename__ = "gold_items"
    __table_args__ = (Index("ix_gold_items_project", "project_id", "created_at"),)
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    use: Mapped[GoldUse] = mapped_column(text_enum(GoldUse))
    expected: Mapped[dict[str, Any]]  # `annotation.gold.expected.Expected`
    why: Mapped[str]
    overlap: Mapped[int]  # of the task before it became gold
    made_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = now()
    withdrawn_at: Mapped[datetime | None]  # no longer asked, nor counted


class GoldAnswer(Base):
    """A person's first answer to a gold item."""

    __tablename__ = "gold_answers"
    __table_args__ = (
        UniqueConstraint("task_id", "person_id"),
        Index("ix_gold_answers_person", "project_id", "person_id"),
    )
    submission_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("submissions.id"), primary_key=True)
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"))
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    correct: Mapped[bool]
    created_at: Mapped[datetime] = now()


class PersonStanding(Base):
    """Where a person stands in a project, where that is not simply "may judge"."""

    __tablename__ = "standings"
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), primary_key=True)
    entered_at: Mapped[datetime | None]  # passed the qualification set
    paused_at: Mapped[datetime | None]  # gets no tasks; what they answered stays, marked
    paused_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("people.id"))  # unset: the project's rule
    reason: Mapped[str | None]
    trusted_from: Mapped[datetime | None]  # let in again: gold answers before do not count against the bar


class ReviewOutcome(StrEnum):
    APPROVED = "approved"
    SENT_BACK = "sent_back"  # with a comment; the person may correct the answer


class Review(Base):
    """A reviewer's word on one answer. Append-only; the newest counts, and none counts for a corrected answer."""

    __tablename__ = "reviews"
    id: Mapped[uuid.UUID] = new_id()
    submission_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("submissions.id"), index=True)
    reviewer_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    outcome: Mapped[ReviewOutcome] = mapped_column(text_enum(ReviewOutcome))
    created_at: Mapped[datetime] = now()


class TaskDecision(Base):
    """The answer to a task that a reviewer decided on, beside the votes. Append-only, as they are."""

    __tablename__ = "decisions"
    __table_args__ = (
        Index("uq_decisions_first", "task_id", unique=True, postgresql_where=sql("supersedes IS NULL")),
        Index("ix_decisions_task", "task_id"),
    )
    id: Mapped[uuid.UUID] = new_id()
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"))
    reviewer_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    supersedes: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("decisions.id"), unique=True)
    kind: Mapped[FeedbackKind] = mapped_column(text_enum(FeedbackKind))
    payload: Mapped[dict[str, Any]]  # as of a submission
    payload_hash: Mapped[str] = mapped_column(String(64))
    erased_at: Mapped[datetime | None]  # the payload says nothing since then
    created_at: Mapped[datetime] = now()


class Comment(Base):
    """One message between a person who has or had a task and those who look after the project."""

    __tablename__ = "comments"
    __table_args__ = (
        Index("ix_comments_thread", "assignment_id", "created_at"),
        Index("ix_comments_waiting", "assignment_id", postgresql_where=sql("settled_at IS NULL")),
    )
    id: Mapped[uuid.UUID] = new_id()
    assignment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("assignments.id"))
    author_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    text: Mapped[str]
    asks: Mapped[bool]  # from the person of the assignment; else to them
    created_at: Mapped[datetime] = now()
    settled_at: Mapped[datetime | None]  # read by the person, or answered by those whom it asked
