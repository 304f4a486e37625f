"""Jobs, models, data sets and snapshots get names, notes and tags; aliases remember what they stood for.

Every new column is empty or has a constant default, so that no table is written anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

NAMED_NOW = ("jobs", "snapshots")  # the others had names before
LABELLED = ("jobs", "model_versions", "datasets", "snapshots")


def upgrade() -> None:
    for table in NAMED_NOW:
        op.add_column(table, sa.Column("name", sa.Text, nullable=True))
    for table in LABELLED:
        op.add_column(table, sa.Column("notes", sa.Text, nullable=False, server_default=sa.text("''")))
        op.add_column(table, sa.Column("tags", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")))
    op.create_table(
        "alias_moves",
        sa.Column("id", UUID(as_uuid=True), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("model_id", UUID(as_uuid=True), nullable=True),
        sa.Column("why", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("moved_by", UUID(as_uuid=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="pk_alias_moves"),
        sa.ForeignKeyConstraint(["model_id"], ["model_versions.id"], name="fk_alias_moves_model_id_model_versions"),
        sa.ForeignKeyConstraint(["moved_by"], ["people.id"], name="fk_alias_moves_moved_by_people"),
    )
    op.create_index("ix_alias_moves_name", "alias_moves", ["name"])
    op.execute(
        "INSERT INTO alias_moves (id, name, model_id, created_at) "
        "SELECT gen_random_uuid(), name, model_id, updated_at FROM aliases"
    )


def downgrade() -> None:
    op.drop_table("alias_moves")
    for table in LABELLED:
        op.drop_column(table, "tags")
        op.drop_column(table, "notes")
    for table in NAMED_NOW:
        op.drop_column(table, "name")
