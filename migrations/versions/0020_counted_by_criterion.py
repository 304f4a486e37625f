"""Agreement and wins are counted anew: orders by criteria that are ranked apart count as well, orders by one criterion
are held against none by another, and what was said of a gold item before it became one does not count.

Every judgement waits again, and the dispatcher folds what waits: a million in some minutes, which pages tell. No other
version may judge or fold meanwhile: the service is stopped first.

Answers to gold items that name a side of a pair are held against what was expected as whoever made the item saw the
pair. A rule's pause is lifted where more of what that rule counts became right than wrong: it looks again at the
person's next claim (entry) or next mixed gold answer (the bar).
Rankings are frozen anew, for a snapshot may hold two orders of one person by one criterion.
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
# Of who saw the pair the other way round `first` is right where `second` was expected, if the question is about sides.
HOLD_AGAIN = """
WITH wanted AS (
    SELECT g.submission_id, s.payload -> 'answers' -> each.key AS given, CASE
        WHEN each.value NOT IN ('"first"', '"second"') OR NOT EXISTS (
            SELECT FROM forms, jsonb_array_elements(forms.spec -> 'questions') AS question
            WHERE forms.id = t.form_id AND question ->> 'id' = each.key
                AND question -> 'options' @> '[{"id": "first"}, {"id": "second"}]'
                AND NOT question -> 'options' @> '[{"id": "third"}]'
        ) THEN each.value
        WHEN each.value = '"first"' THEN '"second"' ELSE '"first"' END AS right
    FROM gold_answers g
    JOIN gold_items item ON item.task_id = g.task_id
    JOIN submissions s ON s.id = g.submission_id AND s.erased_at IS NULL
    JOIN assignments a ON a.id = s.assignment_id
    JOIN tasks t ON t.id = g.task_id
    CROSS JOIN LATERAL jsonb_each(item.expected -> 'answers') AS each
    WHERE ARRAY[a.display_order ->> 1, a.display_order ->> 0] = (
        SELECT array_agg(place.response_id::text ORDER BY place.position)
        FROM task_responses place WHERE place.task_id = g.task_id
    )
), held AS (
    SELECT submission_id, bool_and(coalesce(given = wanted.right, false)) AS correct FROM wanted GROUP BY submission_id
), changed AS (
    UPDATE gold_answers g SET correct = held.correct FROM held, gold_items item
    WHERE g.submission_id = held.submission_id AND g.correct <> held.correct AND item.task_id = g.task_id
    RETURNING g.project_id, g.person_id, g.created_at, g.correct, item.use, item.withdrawn_at
)
UPDATE standings s SET paused_at = NULL, reason = NULL
WHERE s.paused_at IS NOT NULL AND s.paused_by IS NULL AND (
    SELECT count(*) FILTER (WHERE correct) > count(*) FILTER (WHERE NOT correct) FROM changed
    WHERE changed.project_id = s.project_id AND changed.person_id = s.person_id AND withdrawn_at IS NULL AND (
        use = 'entry' AND s.reason LIKE '%"entry-failed"%' OR use = 'mixed' AND s.reason LIKE '%"below-the-bar"%'
            AND (s.trusted_from IS NULL OR changed.created_at > s.trusted_from)
    )
)
"""
FREEZE_ANEW = "UPDATE snapshots SET seen = NULL WHERE kind = 'rankings'"


def upgrade() -> None:
    op.execute(EMPTY)
    op.execute(NOTE_ALL)
    op.execute(HOLD_AGAIN)
    op.execute(FREEZE_ANEW)


def downgrade() -> None:
    """An older service counts what waits in its own way; results of gold items are right for it, too."""
    op.execute(EMPTY)
    op.execute(NOTE_ALL)
    op.execute(FREEZE_ANEW)
