"""Which folder holds the database's files; jobs that may run on the CPU while a cluster has no GPU."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("allow_cpu", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_table(
        "homes",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_homes")),
        sa.CheckConstraint("one", name=op.f("ck_homes_one")),
    )


def downgrade() -> None:
    op.drop_table("homes")
    op.drop_column("jobs", "allow_cpu")
