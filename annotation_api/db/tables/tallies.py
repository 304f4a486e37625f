"""Counts that are kept, so that nobody counts a million rows for a page: what `db.tallies` writes and reads.

What changes appends a row (`pending_judgements`, `task_deltas`), by triggers, so that no writer can forget it and no
row is fought for by all; what was appended is folded into the sums now and then. A count is its sum with what waits.
"""

from __future__ import annotations

import uuid
from datetime import date

from sqlalchemy import BigInteger, Date, Float, Identity, Index, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from annotation_api.db.tables.base import Base


class PendingJudgement(Base):
    """A judgement that no sum holds yet."""

    __tablename__ = "pending_judgements"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    submission_id: Mapped[uuid.UUID] = mapped_column(index=True)
    project_id: Mapped[uuid.UUID]
    prompt_id: Mapped[uuid.UUID] = mapped_column(index=True)
    person_id: Mapped[uuid.UUID]
    day: Mapped[date] = mapped_column(Date)  # UTC
    first: Mapped[bool]  # no correction


class JudgedDay(Base):
    """How much a person did in a project on a day."""

    __tablename__ = "judged_days"
    project_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, index=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    tasks: Mapped[int]
    corrections: Mapped[int]


class _TaskNumbers:
    """Of a project's tasks that were made with a version of a form."""

    tasks: Mapped[int] = mapped_column(BigInteger)
    wanted: Mapped[int] = mapped_column(BigInteger)  # judgements
    judged: Mapped[int] = mapped_column(BigInteger)
    open: Mapped[int] = mapped_column(BigInteger)  # tasks with a place left
    places: Mapped[int] = mapped_column(BigInteger)  # that are left in them


class TaskDelta(_TaskNumbers, Base):
    """What a statement changed in `tasks`."""

    __tablename__ = "task_deltas"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    project_id: Mapped[uuid.UUID]
    form_id: Mapped[uuid.UUID]


class TaskCount(_TaskNumbers, Base):
    __tablename__ = "task_counts"
    project_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    form_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class AgreementSum(Base):
    """`alignment.shared.intervals.RatioSums` of a measure in one slice of a project, a prompt being one observation."""

    __tablename__ = "agreement_sums"
    project_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    measure: Mapped[str] = mapped_column(primary_key=True)  # tallies.contributions.Measure
    subject: Mapped[str] = mapped_column(primary_key=True)  # which question, rating or rule; empty: the orders
    slice: Mapped[str] = mapped_column(primary_key=True)  # kinds.Slice
    value: Mapped[str] = mapped_column(primary_key=True)  # of the slice: a language, a day, a pair of pseudonyms
    total: Mapped[float] = mapped_column(Float)
    count: Mapped[float] = mapped_column(Float)
    squares: Mapped[float] = mapped_column(Float)
    products: Mapped[float] = mapped_column(Float)
    count_squares: Mapped[float] = mapped_column(Float)
    prompts: Mapped[int] = mapped_column(BigInteger)


class AgreementValue(Base):
    """How often two values met, as `alignment.shared.judges.krippendorff` counts coincidences."""

    __tablename__ = "agreement_values"
    project_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    slice: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    one: Mapped[str] = mapped_column(primary_key=True)  # as JSON
    other: Mapped[str] = mapped_column(primary_key=True)
    times: Mapped[float] = mapped_column(Float)


class ModelWin(Base):
    """How people ranked two models' responses beside one another."""

    __tablename__ = "model_wins"
    __table_args__ = (Index("ix_model_wins_models", "first", "second"),)
    project_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    criterion: Mapped[str] = mapped_column(primary_key=True)
    language: Mapped[str] = mapped_column(primary_key=True)
    first: Mapped[uuid.UUID] = mapped_column(primary_key=True)  # of two models the one with the lower id
    second: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True)  # of tasks: what a resample draws
    longer: Mapped[int] = mapped_column(SmallInteger, primary_key=True)  # wins.doublings
    wins: Mapped[int] = mapped_column(BigInteger)  # the first is better
    losses: Mapped[int] = mapped_column(BigInteger)
    ties: Mapped[int] = mapped_column(BigInteger)
