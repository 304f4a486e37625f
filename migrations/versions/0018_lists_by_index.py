"""Lists of answers, fast answers and tasks that several judged are read off indexes.

Four indexes, one of them in the place of another; each reads its table once, which takes some seconds a million rows.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

log = logging.getLogger("alembic.runtime.migration")
OF_SUBMISSIONS = {
    "ix_submissions_list": ["project_id", "created_at", "id"],
    "ix_submissions_person_list": ["person_id", "created_at", "id"],
    "ix_submissions_pace": ["project_id", "active_ms"],
}
SEVERAL = sa.text("judged >= 2 AND NOT gold")


def upgrade() -> None:
    for name, columns in OF_SUBMISSIONS.items():
        log.info("Index of the judgements by %s", ", ".join(columns))
        op.create_index(name, "submissions", columns)
    op.drop_index("ix_submissions_person_days", "submissions")
    op.create_index("ix_tasks_several", "tasks", ["project_id", "created_at", "id"], postgresql_where=SEVERAL)


def downgrade() -> None:
    op.drop_index("ix_tasks_several", "tasks")
    op.create_index("ix_submissions_person_days", "submissions", ["person_id", "project_id", "created_at"])
    for name in OF_SUBMISSIONS:
        op.drop_index(name, "submissions")
