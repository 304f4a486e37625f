"""Jobs that make instructions from seeds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

STAGES = ("sft", "sample", "reward", "ppo", "prepare")


def _stages(*values: str) -> None:
    op.drop_constraint(op.f("ck_jobs_stage"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_stage"), "jobs", f"stage IN ({', '.join(map(repr, values))})")


def upgrade() -> None:
    op.alter_column("jobs", "stage", type_=sa.String(8), existing_nullable=False)  # wider: no row is written anew
    _stages(*STAGES, "instruct")


def downgrade() -> None:
    _stages(*STAGES)
    op.alter_column("jobs", "stage", type_=sa.String(7), existing_nullable=False)
