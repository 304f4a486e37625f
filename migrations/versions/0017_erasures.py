"""What was said can be erased: content goes, hashes and counts stay, and what was made of it is marked.

Nullable columns, and one with a constant default: no table is rewritten; three indexes of few rows are made by
reading tasks once and submissions twice. The rule that some tables are append-only
now lets through one thing: an update of a transaction that names an erasure at work, and never of the audit.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

ERASABLE = ("prompts", "responses", "submissions", "decisions", "dataset_rows", "snapshots", "artifacts")
SAID = {"flagged": "flags", "noted": "note"}  # answers that reviewers look for
STATES = ("queued", "running", "succeeded", "failed")
SCOPES = ("record", "person", "project")
REFUSE = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
{exception}    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Add a new row that supersedes the old one.';
END $$
"""
BUT_ERASURES = """    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME <> 'audit' AND EXISTS (
        SELECT FROM erasures WHERE id::text = current_setting('rankloop.erasing', true) AND state = 'running'
    ) THEN
        RETURN NULL;
    END IF;
"""


def _when(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _one_of(name: str, kind: str, values: tuple[str, ...], **more: object) -> sa.Column:
    allowed = sa.Enum(*values, name=kind, native_enum=False, create_constraint=True)
    return sa.Column(name, allowed, nullable=False, **more)


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.UUID(), nullable=False),
        _one_of("scope", "erasurescope", SCOPES),
        sa.Column("target", JSONB(), nullable=False),
        sa.Column("sought", JSONB(), nullable=True),
        sa.Column("project_id", sa.UUID(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        _one_of("state", "erasurestate", STATES, server_default="queued"),
        sa.Column("step", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("done", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("counts", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        _when("lease_until"),
        sa.Column("created_by", sa.UUID(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        _when("finished_at"),
        sa.ForeignKeyConstraint(["created_by"], ["people.id"], name=op.f("fk_erasures_created_by_people")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_erasures_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index(
        "ix_erasures_waiting", "erasures", ["created_at"], postgresql_where=sa.text("state IN ('queued', 'running')")
    )
    for table in ERASABLE:
        op.add_column(table, _when("erased_at"))
    op.add_column("prompts", sa.Column("erased_key", sa.String(64), nullable=True))
    op.add_column("snapshots", sa.Column("erased_rows", sa.Integer(), server_default=sa.text("0"), nullable=False))
    removed = sa.text("removed_overlap IS NOT NULL")
    op.create_index("ix_tasks_removed", "tasks", ["project_id", "created_at"], postgresql_where=removed)
    for name, field in SAID.items():
        said = sa.text(f"payload ? '{field}'")
        op.create_index(f"ix_submissions_{name}", "submissions", ["project_id", "seq"], postgresql_where=said)
    op.execute(REFUSE.format(exception=BUT_ERASURES))


def downgrade() -> None:
    op.execute(REFUSE.format(exception=""))
    for name in SAID:
        op.drop_index(f"ix_submissions_{name}", "submissions")
    op.drop_index("ix_tasks_removed", "tasks")
    op.drop_column("snapshots", "erased_rows")
    op.drop_column("prompts", "erased_key")
    for table in ERASABLE:
        op.drop_column(table, "erased_at")
    op.drop_table("erasures")
