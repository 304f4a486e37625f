"""A job keeps the preset that it was made with.

Nullable without a default: no table is rewritten, and of older jobs it is not known.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("preset", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "preset")
