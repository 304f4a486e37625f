"""Forms as data, tasks of three kinds, drafts, a counter that keeps finished tasks out of the queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KINDS = ("ranking", "questions", "rules")
IMPORTED = ("demonstrations", "preferences", "rankings", "prompts", "conversations")
FROZEN = (*IMPORTED, "answers", "verdicts")

# What the first version's page asked: an order, "all bad", and a few words.
FIRST_FORM = """
INSERT INTO forms (id, project_id, kind, version, spec, created_by)
SELECT gen_random_uuid(), id, 'ranking', 1, '{"kind": "ranking", "flags": [], "demonstration": false}', created_by
FROM projects
"""
LINK_TASKS = "UPDATE tasks SET form_id = forms.id FROM forms WHERE forms.project_id = tasks.project_id"
COUNT_JUDGED = """
UPDATE tasks SET judged = done.n
FROM (SELECT task_id, count(*) AS n FROM assignments WHERE state = 'submitted' GROUP BY task_id) AS done
WHERE done.task_id = tasks.id
"""


def _one_of(values: tuple[str, ...], column: str = "kind") -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def upgrade() -> None:
    op.add_column("people", sa.Column("language", sa.Text()))
    op.add_column("people", sa.Column("erased_at", sa.DateTime(timezone=True)))
    op.add_column("projects", sa.Column("responses_per_task", sa.Integer(), server_default="4", nullable=False))
    op.add_column("projects", sa.Column("daily_limit", sa.Integer()))
    _make_forms()
    _widen_tasks()
    _name_kinds("submissions")
    op.add_column("submissions", sa.Column("total_ms", sa.Integer()))
    op.create_table(
        "drafts",
        sa.Column("assignment_id", sa.UUID(), sa.ForeignKey("assignments.id"), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("assignment_id", name=op.f("pk_drafts")),
    )
    for table in ("datasets", "snapshots"):
        op.drop_constraint(op.f(f"ck_{table}_datasetkind"), table)
        op.create_check_constraint(op.f(f"ck_{table}_datasetkind"), table, _one_of(FROZEN))


def _name_kinds(table: str) -> None:
    """The free text of the first version becomes one of three names."""
    op.execute(f"ALTER TABLE {table} ALTER kind DROP DEFAULT, ALTER kind TYPE varchar(9)")
    op.execute(f"ALTER TABLE {table} ALTER kind SET DEFAULT 'ranking'")
    op.create_check_constraint(op.f(f"ck_{table}_feedbackkind"), table, _one_of(KINDS))


def _make_forms() -> None:
    op.create_table(
        "forms",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("project_id", sa.UUID(), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column(
            "kind", sa.Enum(*KINDS, name="feedbackkind", native_enum=False, create_constraint=True), nullable=False
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spec", postgresql.JSONB(), nullable=False),
        sa.Column("created_by", sa.UUID(), sa.ForeignKey("people.id"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forms")),
        sa.UniqueConstraint("project_id", "kind", "version", name=op.f("uq_forms_project_id")),
    )
    op.execute(FIRST_FORM)
    op.execute(
        "CREATE TRIGGER forms_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON forms "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def _widen_tasks() -> None:
    op.add_column("tasks", sa.Column("form_id", sa.UUID(), sa.ForeignKey("forms.id")))
    op.execute(LINK_TASKS)
    op.alter_column("tasks", "form_id", nullable=False)
    _name_kinds("tasks")
    op.add_column("tasks", sa.Column("rules", postgresql.JSONB()))
    op.add_column("tasks", sa.Column("judged", sa.Integer(), server_default="0", nullable=False))
    op.execute(COUNT_JUDGED)
    op.drop_index("ix_tasks_queue", "tasks")
    op.create_index("ix_tasks_list", "tasks", ["project_id", "created_at", "id"])
    op.create_index(
        "ix_tasks_open",
        "tasks",
        ["project_id", sa.literal_column("priority DESC"), "created_at", "id"],
        postgresql_where=sa.text("judged < overlap"),
    )


def _free_kinds(table: str) -> None:
    op.drop_constraint(op.f(f"ck_{table}_feedbackkind"), table)
    op.execute(f"ALTER TABLE {table} ALTER kind DROP DEFAULT, ALTER kind TYPE text")
    op.execute(f"ALTER TABLE {table} ALTER kind SET DEFAULT 'ranking'")


def downgrade() -> None:
    for table in ("datasets", "snapshots"):
        op.drop_constraint(op.f(f"ck_{table}_datasetkind"), table)
        op.create_check_constraint(op.f(f"ck_{table}_datasetkind"), table, _one_of(IMPORTED))
    op.drop_table("drafts")
    op.drop_column("submissions", "total_ms")
    _free_kinds("submissions")
    op.drop_index("ix_tasks_open", "tasks")
    op.drop_index("ix_tasks_list", "tasks")
    op.create_index(
        "ix_tasks_queue", "tasks", ["project_id", sa.literal_column("priority DESC"), "created_at", "id"]
    )
    _free_kinds("tasks")
    for column in ("judged", "rules", "form_id"):
        op.drop_column("tasks", column)
    op.drop_table("forms")
    for column in ("daily_limit", "responses_per_task"):
        op.drop_column("projects", column)
    for column in ("erased_at", "language"):
        op.drop_column("people", column)
