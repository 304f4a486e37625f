"""Data sets of responses that are to be ranked; data sets made from others, by jobs that prepare them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0007"
branch_labels = None
depends_on = None

IMPORTED = ("demonstrations", "preferences", "rankings", "prompts", "conversations")
STAGES = ("sft", "sample", "reward", "ppo")
COLLECTED = ("answers", "verdicts")


def _kinds(*values: str) -> None:
    allowed = f"kind IN ({', '.join(repr(value) for value in values)})"
    for table in ("datasets", "snapshots"):
        op.drop_constraint(op.f(f"ck_{table}_datasetkind"), table)
        op.create_check_constraint(op.f(f"ck_{table}_datasetkind"), table, allowed)


def _stages(*values: str) -> None:
    op.drop_constraint(op.f("ck_jobs_stage"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_stage"), "jobs", f"stage IN ({', '.join(map(repr, values))})")


def upgrade() -> None:
    _kinds(*IMPORTED, "responses", *COLLECTED)
    op.alter_column("jobs", "stage", type_=sa.String(7), existing_nullable=False)  # wider: no row is written anew
    _stages(*STAGES, "prepare")
    op.add_column("datasets", sa.Column("origin", JSONB, nullable=True))


def downgrade() -> None:
    op.drop_column("datasets", "origin")
    _stages(*STAGES)
    op.alter_column("jobs", "stage", type_=sa.String(6), existing_nullable=False)
    _kinds(*IMPORTED, *COLLECTED)
