"""Data sets of responses that are to be ranked, and data sets made from others."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

IMPORTED = ("demonstrations", "preferences", "rankings", "prompts", "conversations")
COLLECTED = ("answers", "verdicts")


def _kinds(*values: str) -> None:
    allowed = f"kind IN ({', '.join(repr(value) for value in values)})"
    for table in ("datasets", "snapshots"):
        op.drop_constraint(op.f(f"ck_{table}_datasetkind"), table)
        op.create_check_constraint(op.f(f"ck_{table}_datasetkind"), table, allowed)


def upgrade() -> None:
    _kinds(*IMPORTED, "responses", *COLLECTED)


def downgrade() -> None:
    _kinds(*IMPORTED, *COLLECTED)
