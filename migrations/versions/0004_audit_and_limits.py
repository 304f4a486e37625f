"""The audit, append-only and chained by hashes, and counters for limits that several processes share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OUTCOMES = ("done", "replayed", "forbidden", "wrong-credentials")


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("person_id", sa.UUID(), sa.ForeignKey("people.id")),
        sa.Column("pseudonym", sa.Text()),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("objects", postgresql.JSONB(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(*OUTCOMES, name="auditoutcome", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_person_id"), "audit", ["person_id"])
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.create_table(
        "rate_counters",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_counters")),
    )
    op.create_index(op.f("ix_rate_counters_ends_at"), "rate_counters", ["ends_at"])


def downgrade() -> None:
    op.drop_table("rate_counters")
    op.drop_table("audit")
