"""Paused jobs, the history of attempts, checkpoints that attempts go on from, dispatchers that report themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATES = ("blocked", "queued", "starting", "running", "committing", "succeeded", "failed", "cancelled")
WITH_PAUSED = (*STATES[:7], "paused", "cancelled")
OUTCOMES = ("succeeded", "failed", "queued", "lost", "paused", "cancelled")
RAY = ("local", "up", "down", "unused")

# Attempts that are at work while the service is brought up to date must find their row when they end.
ATTEMPTS_AT_WORK = """
INSERT INTO job_attempts (job_id, epoch, worker, claimed_at, started_at)
SELECT id, epoch, claimed_by, clock_timestamp(), started_at FROM jobs WHERE lease_until IS NOT NULL
"""


def upgrade() -> None:
    _allow_states(WITH_PAUSED)
    op.add_column("jobs", sa.Column("reason_detail", sa.Text()))
    op.add_column("jobs", sa.Column("reason_since", sa.DateTime(timezone=True)))
    op.add_column("jobs", sa.Column("interruptions", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("saved_step", sa.Integer()))
    op.add_column("jobs", sa.Column("pause_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_jobs_live", "jobs", ["created_by"], postgresql_where=sa.text("lease_until IS NOT NULL"))
    _make_attempts()
    _make_checkpoints()
    op.create_table(
        "dispatchers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("busy", sa.Integer(), nullable=False),
        sa.Column("ray", sa.Enum(*RAY, name="raystate", native_enum=False, create_constraint=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dispatchers")),
    )


def _allow_states(states: tuple[str, ...]) -> None:
    op.drop_constraint(op.f("ck_jobs_jobstate"), "jobs")
    op.create_check_constraint(
        op.f("ck_jobs_jobstate"), "jobs", f"state IN ({', '.join(repr(state) for state in states)})"
    )


def _make_attempts() -> None:
    op.create_table(
        "job_attempts",
        sa.Column("job_id", sa.UUID(), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("waited_seconds", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "outcome", sa.Enum(*OUTCOMES, name="attemptoutcome", native_enum=False, create_constraint=True)
        ),
        sa.Column("error", postgresql.JSONB()),
        sa.PrimaryKeyConstraint("job_id", "epoch", name=op.f("pk_job_attempts")),
    )
    op.create_index(
        "ix_job_attempts_ended", "job_attempts", ["outcome"], postgresql_where=sa.text("ended_at IS NOT NULL")
    )
    op.execute(ATTEMPTS_AT_WORK)


def _make_checkpoints() -> None:
    op.create_table(
        "saved_checkpoints",
        sa.Column("job_id", sa.UUID(), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_saved_checkpoints")),
    )


def downgrade() -> None:
    for table in ("dispatchers", "saved_checkpoints", "job_attempts"):
        op.drop_table(table)
    op.drop_index("ix_jobs_live", "jobs")
    for column in ("pause_requested", "saved_step", "interruptions", "reason_since", "reason_detail"):
        op.drop_column("jobs", column)
    op.execute("UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE state = 'paused'")
    _allow_states(STATES)
