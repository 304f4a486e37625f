"""Projects close and are archived, tasks are taken out of the queue, members have languages, invitations a note.

Nullable columns without a default: no table is rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("projects", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("tasks", sa.Column("removed_overlap", sa.Integer(), nullable=True))
    op.add_column("project_members", sa.Column("languages", ARRAY(sa.Text()), nullable=True))
    op.add_column("invitations", sa.Column("note", sa.Text(), nullable=True))


def downgrade() -> None:
    op.execute("UPDATE tasks SET overlap = removed_overlap WHERE removed_overlap IS NOT NULL")
    op.drop_column("invitations", "note")
    op.drop_column("project_members", "languages")
    op.drop_column("tasks", "removed_overlap")
    op.drop_column("projects", "archived_at")
    op.drop_column("projects", "closed_at")
