"""Data sets made from others, by jobs that prepare them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STAGES = ("sft", "sample", "reward", "ppo")


def _stages(*values: str) -> None:
    op.drop_constraint(op.f("ck_jobs_stage"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_stage"), "jobs", f"stage IN ({', '.join(map(repr, values))})")


def upgrade() -> None:
    op.alter_column("jobs", "stage", type_=sa.String(7), existing_nullable=False)  # wider: no row is written anew
    _stages(*STAGES, "prepare")
    op.add_column("datasets", sa.Column("origin", JSONB, nullable=True))


def downgrade() -> None:
    op.drop_column("datasets", "origin")
    _stages(*STAGES)
    op.alter_column("jobs", "stage", type_=sa.String(6), existing_nullable=False)
