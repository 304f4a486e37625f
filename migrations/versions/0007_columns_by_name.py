"""Data sets keep which columns of the file were read as what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("mapping", JSONB, nullable=True))


def downgrade() -> None:
    op.drop_column("datasets", "mapping")
