"""Artifacts and models whose files were removed say so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("artifacts", "model_versions"):
        op.add_column(table, sa.Column("removed_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    for table in ("model_versions", "artifacts"):
        op.drop_column(table, "removed_at")
