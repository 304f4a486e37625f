"""Counts that are kept instead of taken, agreement and wins among them; freezes that take long.

Columns and indexes are made without rewriting a table, but for the project and person of each submission, which are
filled in once. What was judged before is put on the list of what is to be counted: the dispatcher works it off.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

log = logging.getLogger("alembic.runtime.migration")
BATCH = 100_000
KINDS = ("demonstrations", "preferences", "rankings", "prompts", "conversations", "responses", "answers", "verdicts")
TASK_NUMBERS = """
count(*), sum(overlap), sum(judged), count(*) FILTER (WHERE judged < overlap), sum(greatest(overlap - judged, 0))
"""

PLACE_SUBMISSION = """
CREATE FUNCTION place_submission() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.person_id, t.project_id INTO NEW.person_id, NEW.project_id
    FROM assignments a JOIN tasks t ON t.id = a.task_id WHERE a.id = NEW.assignment_id;
    RETURN NEW;
END $$
"""
NOTE_SUBMISSION = """
CREATE FUNCTION note_submission() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending_judgements (submission_id, project_id, prompt_id, person_id, day, first)
    SELECT NEW.id, NEW.project_id, t.prompt_id, NEW.person_id, (NEW.created_at AT TIME ZONE 'UTC')::date,
        NEW.supersedes IS NULL
    FROM assignments a JOIN tasks t ON t.id = a.task_id WHERE a.id = NEW.assignment_id;
    RETURN NULL;
END $$
"""
# What a statement changed in tasks, by project and form; nothing where nothing that is counted has changed.
NOTE_TASKS = """
CREATE FUNCTION note_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO task_deltas (project_id, form_id, tasks, wanted, judged, open, places)
        SELECT project_id, form_id, count(*), sum(overlap), sum(judged), count(*) FILTER (WHERE judged < overlap),
            sum(greatest(overlap - judged, 0))
        FROM added GROUP BY project_id, form_id;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO task_deltas (project_id, form_id, tasks, wanted, judged, open, places)
        SELECT project_id, form_id, -count(*), -sum(overlap), -sum(judged), -count(*) FILTER (WHERE judged < overlap),
            -sum(greatest(overlap - judged, 0))
        FROM gone GROUP BY project_id, form_id;
    ELSE
        INSERT INTO task_deltas (project_id, form_id, tasks, wanted, judged, open, places)
        SELECT project_id, form_id, sum(sign), sum(sign * overlap), sum(sign * judged),
            coalesce(sum(sign) FILTER (WHERE judged < overlap), 0), sum(sign * greatest(overlap - judged, 0))
        FROM (SELECT 1 AS sign, added.* FROM added UNION ALL SELECT -1, gone.* FROM gone) AS both_sides
        GROUP BY project_id, form_id
        HAVING sum(sign * overlap) <> 0 OR sum(sign * judged) <> 0 OR sum(sign) <> 0;
    END IF;
    RETURN NULL;
END $$
"""
TRIGGERS = (
    "CREATE TRIGGER submissions_placed BEFORE INSERT ON submissions FOR EACH ROW EXECUTE FUNCTION place_submission()",
    "CREATE TRIGGER submissions_noted AFTER INSERT ON submissions FOR EACH ROW EXECUTE FUNCTION note_submission()",
    "CREATE TRIGGER tasks_added AFTER INSERT ON tasks REFERENCING NEW TABLE AS added "
    "FOR EACH STATEMENT EXECUTE FUNCTION note_tasks()",
    "CREATE TRIGGER tasks_changed AFTER UPDATE ON tasks REFERENCING NEW TABLE AS added OLD TABLE AS gone "
    "FOR EACH STATEMENT EXECUTE FUNCTION note_tasks()",
    "CREATE TRIGGER tasks_removed AFTER DELETE ON tasks REFERENCING OLD TABLE AS gone "
    "FOR EACH STATEMENT EXECUTE FUNCTION note_tasks()",
)
# By the order of arrival, so that each batch reads neighbours.
FILL = """
UPDATE submissions s SET person_id = a.person_id, project_id = t.project_id
FROM assignments a JOIN tasks t ON t.id = a.task_id
WHERE a.id = s.assignment_id AND s.seq > :after AND s.seq <= :upto
"""
NOTE_ALL = """
INSERT INTO pending_judgements (submission_id, project_id, prompt_id, person_id, day, first)
SELECT s.id, s.project_id, t.prompt_id, s.person_id, (s.created_at AT TIME ZONE 'UTC')::date, s.supersedes IS NULL
FROM submissions s JOIN assignments a ON a.id = s.assignment_id JOIN tasks t ON t.id = a.task_id ORDER BY s.seq
"""
COUNT_TASKS = f"""
INSERT INTO task_counts (project_id, form_id, tasks, wanted, judged, open, places)
SELECT project_id, form_id, {TASK_NUMBERS} FROM tasks GROUP BY project_id, form_id
"""


def _number(name: str, kind: sa.types.TypeEngine = sa.BigInteger()) -> sa.Column:
    return sa.Column(name, kind, nullable=False)


def _task_numbers() -> list[sa.Column]:
    return [_number(name) for name in ("tasks", "wanted", "judged", "open", "places")]


def _identity() -> sa.Column:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False)


def _keyed(table: str, keys: dict[str, sa.types.TypeEngine], *columns: sa.Column) -> None:
    names = [sa.Column(name, kind, nullable=False) for name, kind in keys.items()]
    op.create_table(table, *names, *columns, sa.PrimaryKeyConstraint(*keys, name=op.f(f"pk_{table}")))


def upgrade() -> None:
    _make_tables()
    _make_freezes()
    op.add_column("snapshots", sa.Column("seen", JSONB()))
    op.add_column("submissions", sa.Column("project_id", sa.UUID()))
    op.add_column("submissions", sa.Column("person_id", sa.UUID()))
    _fill_submissions()
    op.alter_column("submissions", "project_id", nullable=False)
    op.alter_column("submissions", "person_id", nullable=False)
    op.create_index("ix_submissions_person", "submissions", ["person_id", "seq"])
    op.create_index("ix_submissions_person_days", "submissions", ["person_id", "project_id", "created_at"])
    op.create_index("ix_submissions_project", "submissions", ["project_id", "kind", "seq"])
    op.create_index("ix_tasks_prompt", "tasks", ["prompt_id"])
    op.create_index(
        "ix_assignments_skipped", "assignments", ["person_id", "task_id"], postgresql_where=sa.text("state = 'skipped'")
    )
    op.execute(NOTE_ALL)
    op.create_index(op.f("ix_pending_judgements_submission_id"), "pending_judgements", ["submission_id"])
    op.create_index(op.f("ix_pending_judgements_prompt_id"), "pending_judgements", ["prompt_id"])
    op.execute(COUNT_TASKS)
    for statement in (PLACE_SUBMISSION, NOTE_SUBMISSION, NOTE_TASKS, *TRIGGERS):
        op.execute(statement)


def _fill_submissions() -> None:
    """The rule that submissions never change is lifted for their two new columns, within this transaction."""
    connection = op.get_bind()
    last = connection.execute(sa.text("SELECT coalesce(max(seq), 0) FROM submissions")).scalar_one()
    op.execute("ALTER TABLE submissions DISABLE TRIGGER submissions_append_only")
    for after in range(0, last, BATCH):
        connection.execute(sa.text(FILL), {"after": after, "upto": after + BATCH})
        log.info("Judgements placed: %d of %d", min(after + BATCH, last), last)
    op.execute("ALTER TABLE submissions ENABLE TRIGGER submissions_append_only")


def _make_tables() -> None:
    op.create_table(
        "pending_judgements",
        _identity(),
        *(_number(name, sa.UUID()) for name in ("submission_id", "project_id", "prompt_id", "person_id")),
        _number("day", sa.Date()),
        _number("first", sa.Boolean()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pending_judgements")),
    )
    op.create_table(
        "task_deltas",
        _identity(),
        _number("project_id", sa.UUID()),
        _number("form_id", sa.UUID()),
        *_task_numbers(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_deltas")),
    )
    _keyed("task_counts", {"project_id": sa.UUID(), "form_id": sa.UUID()}, *_task_numbers())
    by_day = {"project_id": sa.UUID(), "person_id": sa.UUID(), "day": sa.Date()}
    _keyed("judged_days", by_day, _number("tasks", sa.Integer()), _number("corrections", sa.Integer()))
    op.create_index(op.f("ix_judged_days_person_id"), "judged_days", ["person_id"])
    texts = dict.fromkeys(("measure", "subject", "slice", "value"), sa.Text())
    sums = ("total", "count", "squares", "products", "count_squares")
    _keyed(
        "agreement_sums",
        {"project_id": sa.UUID(), **texts},
        *(_number(name, sa.Float()) for name in sums),
        _number("prompts"),
    )
    texts = dict.fromkeys(("subject", "slice", "value", "one", "other"), sa.Text())
    _keyed("agreement_values", {"project_id": sa.UUID(), **texts}, _number("times", sa.Float()))
    wins = {"project_id": sa.UUID(), "criterion": sa.Text(), "language": sa.Text(), "first": sa.UUID()}
    wins |= {"second": sa.UUID(), "bucket": sa.SmallInteger(), "longer": sa.SmallInteger()}
    _keyed("model_wins", wins, *(_number(name) for name in ("wins", "losses", "ties")))
    op.create_index("ix_model_wins_models", "model_wins", ["first", "second"])


def _make_freezes() -> None:
    op.create_table(
        "freezes",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Enum(*KINDS, name="datasetkind", native_enum=False, create_constraint=True), nullable=False),
        sa.Column("source", JSONB(), nullable=False),
        sa.Column("labels", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued", "running", "succeeded", "failed", name="freezestate", native_enum=False, create_constraint=True
            ),
            server_default="queued",
            nullable=False,
        ),
        sa.Column("done", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("snapshot_id", sa.UUID(), sa.ForeignKey("snapshots.id")),
        sa.Column("error", sa.Text()),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("created_by", sa.UUID(), sa.ForeignKey("people.id"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_freezes")),
    )
    waiting = sa.text("state IN ('queued', 'running')")
    op.create_index("ix_freezes_waiting", "freezes", ["created_at"], postgresql_where=waiting)


def downgrade() -> None:
    for name, table in (("submissions_placed", "submissions"), ("submissions_noted", "submissions")):
        op.execute(f"DROP TRIGGER {name} ON {table}")
    for name in ("tasks_added", "tasks_changed", "tasks_removed"):
        op.execute(f"DROP TRIGGER {name} ON tasks")
    for name in ("place_submission", "note_submission", "note_tasks"):
        op.execute(f"DROP FUNCTION {name}()")
    op.drop_index("ix_assignments_skipped", "assignments")
    op.drop_index("ix_tasks_prompt", "tasks")
    op.drop_column("snapshots", "seen")
    op.drop_column("submissions", "person_id")  # and the indexes that begin with them
    op.drop_column("submissions", "project_id")
    for table in (
        "freezes",
        "model_wins",
        "agreement_values",
        "agreement_sums",
        "judged_days",
        "task_counts",
        "task_deltas",
        "pending_judgements",
    ):
        op.drop_table(table)
