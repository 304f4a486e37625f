"""Empties what jobs and requests remember of erased content: samples, replies, errors, answers kept for repeats."""

from __future__ import annotations

# Jobs that read a snapshot which lost rows, or that filled or sampled into an erased project.
JOBS = """
SELECT j.id, j.epoch FROM jobs j WHERE EXISTS (
    SELECT FROM snapshots s WHERE s.erased_at >= %(since)s AND strpos(j.inputs::text, s.id::text) > 0
) OR (%(whole)s AND strpos(j.inputs::text, %(project)s) > 0)
"""
_ERROR = """jsonb_build_object(
    'kind', {of} -> 'kind', 'cause', %(gone)s::text, 'next_step', '', 'traceback', '', 'log', ''
)"""
OF_JOBS: dict[str, str] = {
    "job events": """
UPDATE job_events SET data = jsonb_set(data, '{rows}', '[]') WHERE job_id = ANY(%(jobs)s::uuid[])
    AND type IN ('samples', 'look') AND data -> 'rows' <> '[]'::jsonb
""",
    "job notes": """
UPDATE job_events SET data = jsonb_set(data, '{message}', to_jsonb(%(gone)s::text)) - 'said'
WHERE job_id = ANY(%(jobs)s::uuid[]) AND type = 'note' AND data ->> 'message' <> %(gone)s
""",
    "job states": """
UPDATE job_events SET data = data - 'error' - 'detail' - 'said' WHERE job_id = ANY(%(jobs)s::uuid[])
    AND type = 'state' AND data ?| '{error,detail}'
""",
    "job results": """
UPDATE jobs SET result = result #- '{details,samples}' #- '{details,examples}'
WHERE id = ANY(%(jobs)s::uuid[]) AND result -> 'details' ?| '{samples,examples}'
""",
    "job errors": f"""
UPDATE jobs SET error = {_ERROR.format(of="error")}
WHERE id = ANY(%(jobs)s::uuid[]) AND error IS NOT NULL AND error ->> 'cause' <> %(gone)s
""",
    "attempt errors": f"""
UPDATE job_attempts SET error = {_ERROR.format(of="error")}
WHERE job_id = ANY(%(jobs)s::uuid[]) AND error IS NOT NULL AND error ->> 'cause' <> %(gone)s
""",
}
# Answers kept for repeats that name what is empty now; a person's own, all of them.
UUIDS = "'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'"
REQUESTS = f"""
DELETE FROM idempotency_keys k WHERE k.person_id = %(person)s::uuid OR EXISTS (
    SELECT FROM regexp_matches(k.body::text || k.headers::text, {UUIDS}, 'g') AS named (id) WHERE
        named.id[1] = %(project)s AND %(person)s::uuid IS NULL
        OR EXISTS (SELECT FROM prompts p WHERE p.id = named.id[1]::uuid AND p.erased_at IS NOT NULL)
        OR EXISTS (SELECT FROM tasks t JOIN prompts p ON p.id = t.prompt_id
            WHERE t.id = named.id[1]::uuid AND p.erased_at IS NOT NULL)
        OR EXISTS (SELECT FROM assignments a LEFT JOIN submissions s ON s.assignment_id = a.id
            JOIN tasks t ON t.id = a.task_id JOIN prompts p ON p.id = t.prompt_id
            WHERE a.id = named.id[1]::uuid AND (p.erased_at IS NOT NULL OR s.erased_at IS NOT NULL))
        OR EXISTS (SELECT FROM assignments a LEFT JOIN comments c ON c.assignment_id = a.id
            WHERE a.id = named.id[1]::uuid AND %(person)s::uuid IN (a.person_id, c.author_id))
        OR EXISTS (SELECT FROM submissions s WHERE s.id = named.id[1]::uuid AND s.erased_at IS NOT NULL)
        OR EXISTS (SELECT FROM dataset_rows d WHERE d.dataset_id = named.id[1]::uuid AND d.erased_at IS NOT NULL)
)
"""
DATASETS = "SELECT DISTINCT dataset_id AS id FROM dataset_rows WHERE erased_at >= %(since)s"
CHECKPOINTS = """
UPDATE saved_checkpoints SET removed_at = clock_timestamp()
WHERE job_id = ANY(%(jobs)s::uuid[]) AND removed_at IS NULL
"""
ARTIFACT = """
UPDATE artifacts SET erased_at = coalesce(erased_at, clock_timestamp())
WHERE job_id = %(job)s AND name = ANY(%(names)s::text[])
"""
