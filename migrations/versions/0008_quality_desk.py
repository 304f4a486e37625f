"""Gold items and who is let in or paused; reviews, decisions and comments."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KINDS = ("ranking", "questions", "rules")
APPEND_ONLY = ("reviews", "decisions")
TABLES = ("comments", "decisions", "reviews", "standings", "gold_answers", "gold_items", "quality_rules")


def _key(name: str, table: str, *, empty: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.UUID(), sa.ForeignKey(f"{table}.id"), nullable=empty)


def _now() -> sa.Column[Any]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _moment(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True))


def _one_of(name: str, kind: str, *values: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Enum(*values, name=kind, native_enum=False, create_constraint=True), nullable=False)


def upgrade() -> None:
    """No row is rewritten: the new column has a constant default."""
    op.add_column("tasks", sa.Column("gold", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    _screening()
    _reviewing()
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def _screening() -> None:
    op.create_table(
        "quality_rules",
        _key("project_id", "projects"),
        sa.Column("gold_rate", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("bar", sa.Float()),
        sa.Column("entry", sa.Float()),
        sa.Column("names_shown", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_quality_rules")),
    )
    op.create_table(
        "gold_items",
        _key("task_id", "tasks"),
        _key("project_id", "projects"),
        _one_of("use", "golduse", "mixed", "entry"),
        sa.Column("expected", JSONB(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        _key("made_by", "people"),
        _now(),
        _moment("withdrawn_at"),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_gold_items")),
    )
    op.create_index("ix_gold_items_project", "gold_items", ["project_id", "created_at"])
    op.create_table(
        "gold_answers",
        _key("submission_id", "submissions"),
        _key("task_id", "tasks"),
        _key("project_id", "projects"),
        _key("person_id", "people"),
        sa.Column("correct", sa.Boolean(), nullable=False),
        _now(),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_gold_answers")),
        sa.UniqueConstraint("task_id", "person_id", name=op.f("uq_gold_answers_task_id")),
    )
    op.create_index("ix_gold_answers_person", "gold_answers", ["project_id", "person_id"])
    op.create_table(
        "standings",
        _key("project_id", "projects"),
        _key("person_id", "people"),
        _moment("entered_at"),
        _moment("paused_at"),
        _key("paused_by", "people", empty=True),
        sa.Column("reason", sa.Text()),
        _moment("trusted_from"),
        sa.PrimaryKeyConstraint("project_id", "person_id", name=op.f("pk_standings")),
    )


def _reviewing() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.UUID(), nullable=False),
        _key("submission_id", "submissions"),
        _key("reviewer_id", "people"),
        _one_of("outcome", "reviewoutcome", "approved", "sent_back"),
        _now(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_submission_id"), "reviews", ["submission_id"])
    op.create_table(
        "decisions",
        sa.Column("id", sa.UUID(), nullable=False),
        _key("task_id", "tasks"),
        _key("reviewer_id", "people"),
        _key("supersedes", "decisions", empty=True),
        _one_of("kind", "feedbackkind", *KINDS),
        sa.Column("payload", JSONB(), nullable=False),
        sa.Column("payload_hash", sa.String(64), nullable=False),
        _now(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        sa.UniqueConstraint("supersedes", name=op.f("uq_decisions_supersedes")),
    )
    op.create_index("ix_decisions_task", "decisions", ["task_id"])
    op.create_index(
        "uq_decisions_first", "decisions", ["task_id"], unique=True, postgresql_where=sa.text("supersedes IS NULL")
    )
    op.create_table(
        "comments",
        sa.Column("id", sa.UUID(), nullable=False),
        _key("assignment_id", "assignments"),
        _key("author_id", "people"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("asks", sa.Boolean(), nullable=False),
        _now(),
        _moment("settled_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comments")),
    )
    op.create_index("ix_comments_thread", "comments", ["assignment_id", "created_at"])
    op.create_index(
        "ix_comments_waiting", "comments", ["assignment_id"], postgresql_where=sa.text("settled_at IS NULL")
    )


def downgrade() -> None:
    """A gold item becomes an ordinary task again, with the places that it had."""
    op.execute(
        "UPDATE tasks SET overlap = gold_items.overlap FROM gold_items WHERE gold_items.task_id = tasks.id AND tasks.gold"
    )
    for table in TABLES:
        op.drop_table(table)
    op.drop_column("tasks", "gold")
