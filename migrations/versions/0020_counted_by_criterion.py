"""Agreement and wins are counted anew: orders by criteria that are ranked apart count as well, orders by one criterion
are held against none by another, and what was said of a gold item before it became one does not count.

Every judgement waits again, and the dispatcher folds what waits: a million in some minutes, which pages tell.
"""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

# The days as well: a judgement that is folded counts for its day. Who judges just now has committed, or waits.
EMPTY = "TRUNCATE pending_judgements, judged_days, agreement_sums, agreement_values, model_wins"
NOTE_ALL = """
INSERT INTO pending_judgements (submission_id, project_id, prompt_id, person_id, day, first)
SELECT s.id, s.project_id, t.prompt_id, s.person_id, (s.created_at AT TIME ZONE 'UTC')::date, s.supersedes IS NULL
FROM submissions s JOIN assignments a ON a.id = s.assignment_id JOIN tasks t ON t.id = a.task_id ORDER BY s.seq
"""


def upgrade() -> None:
    op.execute(EMPTY)
    op.execute(NOTE_ALL)


def downgrade() -> None:
    """An older service counts what waits in its own way."""
    op.execute(EMPTY)
    op.execute(NOTE_ALL)
