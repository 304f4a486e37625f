"""What was prepared from a project's judgements belongs to that project, as it does since: who may not see one may not
see the other. A few rows, for each preparation that was kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# One generation of preparations: a snapshot is of a project, or of a data set that was prepared from one.
BELONGS = sa.text("""
UPDATE datasets SET project_id = projects.id
  FROM snapshots LEFT JOIN datasets AS source ON source.id::text = snapshots.sources -> 'datasets' ->> 0, projects
 WHERE datasets.project_id IS NULL AND datasets.origin ->> 'snapshot' = snapshots.id::text
   AND projects.id::text = coalesce(snapshots.sources ->> 'project', source.project_id::text)
""")


def upgrade() -> None:
    while op.get_bind().execute(BELONGS).rowcount:
        pass


def downgrade() -> None:
    """What belongs to a project goes on doing so."""
