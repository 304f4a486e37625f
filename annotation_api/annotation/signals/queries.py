"""What the signals ask of the tables: everybody's newest first answers in a project, and the bytes that were read."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from annotation_api.db.sql import rows

NEWEST = 200  # answers of a person

# First answers: a correction may follow a talk about the first. Read off the index of a person's answers in a project.
ANSWERS = """
SELECT person.id AS person, answer.* FROM people person CROSS JOIN LATERAL (
    SELECT s.id AS submission, a.task_id AS task, s.payload, s.active_ms, a.display_order
    FROM submissions s
    JOIN assignments a ON a.id = s.assignment_id
    WHERE s.person_id = person.id AND s.project_id = %(project)s AND s.supersedes IS NULL
        AND s.erased_at IS NULL
    ORDER BY s.created_at DESC, s.seq DESC LIMIT %(most)s
) AS answer
"""
SIZES = """
SELECT t.id AS task, t.form_id, octet_length(p.record::text) AS prompt,
    array_agg(r.id::text ORDER BY place.position) AS ids,
    array_agg(octet_length(r.text) ORDER BY place.position) AS sizes
FROM tasks t
JOIN prompts p ON p.id = t.prompt_id
JOIN task_responses place ON place.task_id = t.id
JOIN responses r ON r.id = place.response_id
WHERE t.id = ANY (%(tasks)s::uuid[])
GROUP BY t.id, p.id
"""


def answers(session: Session, project_id: uuid.UUID) -> Sequence[Any]:
    """By person, newest first, at most NEWEST each."""
    return rows(session, ANSWERS, project=project_id, most=NEWEST)


def sizes(session: Session, tasks: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[uuid.UUID, dict[str, int], int]]:
    """(form, bytes by response in the order of sampling, bytes of the prompt) of each task."""
    found = rows(session, SIZES, tasks=list(tasks))
    return {row.task: (row.form_id, dict(zip(row.ids, row.sizes, strict=True)), row.prompt) for row in found}


# Decisions that stand, and gold items that say more than where some responses stand.
WORDS = """
SELECT d.task_id AS task, d.payload FROM decisions d JOIN tasks t ON t.id = d.task_id
WHERE t.project_id = %(project)s AND d.erased_at IS NULL
    AND NOT EXISTS (SELECT FROM decisions later WHERE later.supersedes = d.id)
UNION ALL
SELECT g.task_id, CASE WHEN g.expected ? 'order' THEN jsonb_build_object('groups', g.expected -> 'order')
    ELSE g.expected END
FROM gold_items g
WHERE g.project_id = %(project)s AND g.withdrawn_at IS NULL AND NOT g.expected ? 'constraints'
    AND NOT EXISTS (SELECT FROM decisions d WHERE d.task_id = g.task_id)
"""


def words(session: Session, project_id: uuid.UUID) -> dict[str, dict[str, Any]]:
    """What reviewers and gold items say, by task."""
    return {str(row.task): row.payload for row in rows(session, WORDS, project=project_id)}
