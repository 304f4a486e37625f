"""Many judgements at once, as rows that the service would have written: for what must hold at a million of them.

Ids follow from numbers (`md5('task 7')::uuid`), so that each table is one INSERT ... SELECT. The triggers run, as they
would have.
"""

from __future__ import annotations

import uuid

from sqlalchemy import text
from sqlalchemy.orm import Session

from annotation_api.db import form_rows

SENTENCE = "The tide turns twice a day because the moon pulls at the sea. "
PROMPTS = """
INSERT INTO prompts (id, project_id, key, record)
SELECT md5('prompt ' || n)::uuid, :project, md5('key ' || n) || md5('key ' || n),
    jsonb_build_object('messages', jsonb_build_array(
        jsonb_build_object('role', 'user', 'content', 'Question ' || n || ': why do tides turn?')), 'language', 'en')
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
"""
RESPONSES = """
INSERT INTO responses (id, prompt_id, text, text_hash, model_id)
SELECT md5('response ' || n || ' ' || k)::uuid, md5('prompt ' || n)::uuid, 'Answer ' || n || '-' || k || '. ' || :words,
    md5('text ' || n || ' ' || k) || md5('text ' || n || ' ' || k), (CAST(:models AS uuid[]))[k]
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n, generate_series(1, CAST(:k AS int)) AS k
"""
TASKS = """
INSERT INTO tasks (id, project_id, prompt_id, kind, form_id, overlap, judged, created_at)
SELECT md5('task ' || n)::uuid, :project, md5('prompt ' || n)::uuid, 'ranking', :form, :overlap, :judged,
    now() - make_interval(secs => 1e6 - n)
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
"""
PLACES = """
INSERT INTO task_responses (task_id, position, response_id)
SELECT md5('task ' || n)::uuid, k - 1, md5('response ' || n || ' ' || k)::uuid
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n, generate_series(1, CAST(:k AS int)) AS k
"""
ASSIGNMENTS = """
INSERT INTO assignments (id, task_id, person_id, state, display_order, lease_until)
SELECT md5('assignment ' || n || ' ' || j)::uuid, md5('task ' || n)::uuid,
    (CAST(:people AS uuid[]))[1 + mod(n + j * j, cardinality(CAST(:people AS uuid[])))], 'submitted',
    (SELECT jsonb_agg(md5('response ' || n || ' ' || k)::uuid) FROM generate_series(1, CAST(:k AS int)) AS k), now()
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n, generate_series(1, CAST(:judged AS int)) AS j
"""
# Each places a response by its number, but for some chance: people agree, not always.
SUBMISSIONS = """
INSERT INTO submissions (id, assignment_id, kind, payload, payload_hash, active_ms, total_ms, created_at)
SELECT md5('submission ' || n || ' ' || j)::uuid, md5('assignment ' || n || ' ' || j)::uuid, 'ranking',
    jsonb_build_object('groups', (
        SELECT jsonb_agg(jsonb_build_array(md5('response ' || n || ' ' || k)::uuid) ORDER BY k + 3 * random() + 0 * j)
        FROM generate_series(1, CAST(:k AS int)) AS k)), repeat('0', 64), 20000, 25000,
    now() - make_interval(secs => (CAST(:last_of_all AS int) - n) * 2.0)
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n, generate_series(1, CAST(:judged AS int)) AS j
"""
STATEMENTS = (PROMPTS, RESPONSES, TASKS, PLACES, ASSIGNMENTS, SUBMISSIONS)


def judge(
    session: Session,
    project: uuid.UUID,
    people: list[uuid.UUID],
    tasks: range,
    *,
    overlap: int,
    judged: int,
    models: list[uuid.UUID] | None = None,
    k: int = 4,
) -> None:
    """Tasks by number, each judged by `judged` of the people; the number is never used twice in a database."""
    form = form_rows.newest_form(session, project)
    assert form is not None
    values = {
        "project": project,
        "form": form.id,
        "people": [str(key) for key in people],
        "models": [str(key) for key in models or ()],
        "first": tasks.start,
        "last": tasks.stop - 1,
        "last_of_all": tasks.stop,
        "overlap": overlap,
        "judged": judged,
        "k": k,
        "words": SENTENCE * 4,
    }
    session.execute(text("SET LOCAL statement_timeout = 0"))
    for statement in STATEMENTS:
        session.execute(text(statement), values)
