"""Empties what stands in projects: prompts with all that hangs on them, and what a person wrote.

Rows stay, with their hashes and times, so that counts stay true; a task whose prompt is gone is out of the queue for
good. An emptied judgement keeps a shape that every reader knows: all tied, nothing answered.
"""

from __future__ import annotations

TOMB_PROMPT = '{"messages": [{"role": "user", "content": "[erased]"}]}'
EMPTY = """CASE {kind} WHEN 'ranking' THEN jsonb_build_object('groups', jsonb_build_array({order}))
    WHEN 'questions' THEN jsonb_build_object('answers', jsonb_build_object())
    ELSE jsonb_build_object('verdicts', jsonb_build_object()) END"""
OF_TASK = """(SELECT coalesce(jsonb_agg(place.response_id), '[]'::jsonb) FROM task_responses place
    WHERE place.task_id = t.id)"""
NOW = "clock_timestamp()"

NEXT_PROMPTS = """
SELECT p.id FROM prompts p WHERE {prompts} AND p.erased_at IS NULL AND p.id > %(after)s::uuid ORDER BY p.id
LIMIT %(batch)s
"""
NEXT_ASSIGNMENTS = """
SELECT a.id FROM assignments a JOIN tasks t ON t.id = a.task_id
WHERE {assignments} AND a.id > %(after)s::uuid ORDER BY a.id LIMIT %(batch)s
"""

_SUBMISSIONS = f"""
UPDATE submissions x SET payload = {EMPTY.format(kind="x.kind", order="a.display_order")}, erased_at = {NOW}
FROM assignments a {{join}} WHERE a.id = x.assignment_id AND {{of}} AND x.erased_at IS NULL
"""
_COMMENTS = f"""
UPDATE comments x SET text = %(gone)s, settled_at = coalesce(x.settled_at, {NOW})
FROM assignments a {{join}} WHERE a.id = x.assignment_id AND {{of}} AND x.text <> %(gone)s
"""
_DRAFTS = "DELETE FROM drafts x USING assignments a {join} WHERE a.id = x.assignment_id AND {of}"
_TASKS_OF = {"join": "JOIN tasks t ON t.id = a.task_id", "of": "t.prompt_id = ANY(%(ids)s::uuid[])"}
_ASSIGNED = {"join": "", "of": "a.id = ANY(%(ids)s::uuid[])"}

# Before a batch is emptied, in the order in which claims and answers take them (`db.places`). A prompt's key changes.
HOLD_TASKS = """
SELECT id FROM tasks WHERE prompt_id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""
HOLD_PLACES = """
SELECT a.id FROM assignments a JOIN tasks t ON t.id = a.task_id WHERE t.prompt_id = ANY(%(ids)s::uuid[])
ORDER BY a.id FOR NO KEY UPDATE OF a
"""
HOLD_PROMPTS = "SELECT id FROM prompts WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR UPDATE"
HOLD_ASSIGNMENTS = """
SELECT id FROM assignments WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""
HOLD = {"prompts": (HOLD_TASKS, HOLD_PLACES, HOLD_PROMPTS), "answers": (HOLD_ASSIGNMENTS,)}

# The prompt first: its key changes, so that whoever makes a task of it waits, and then makes another prompt.
OF_PROMPTS: dict[str, str] = {
    "prompts": f"""
UPDATE prompts SET record = '{TOMB_PROMPT}'::jsonb, erased_key = key, erased_at = {NOW},
    key = 'erased-' || replace(id::text, '-', '')
WHERE id = ANY(%(ids)s::uuid[]) AND erased_at IS NULL
""",
    "responses": f"""
UPDATE responses SET text = %(gone)s, erased_at = {NOW} WHERE prompt_id = ANY(%(ids)s::uuid[]) AND erased_at IS NULL
""",
    "answers": _SUBMISSIONS.format(**_TASKS_OF),
    "comments": _COMMENTS.format(**_TASKS_OF),
    "drafts": _DRAFTS.format(**_TASKS_OF),
    "decisions": f"""
UPDATE decisions x SET payload = {EMPTY.format(kind="x.kind", order=OF_TASK)}, erased_at = {NOW}
FROM tasks t WHERE t.id = x.task_id AND t.prompt_id = ANY(%(ids)s::uuid[]) AND x.erased_at IS NULL
""",
    "gold items": f"""
UPDATE gold_items x SET why = %(gone)s, withdrawn_at = coalesce(x.withdrawn_at, {NOW}),
    expected = CASE WHEN x.expected ? 'answers' THEN '{{"answers": {{"erased": true}}}}'::jsonb ELSE x.expected END
FROM tasks t WHERE t.id = x.task_id AND t.prompt_id = ANY(%(ids)s::uuid[]) AND x.why <> %(gone)s
""",
    "assignments": f"""
UPDATE assignments x SET skip_reason = CASE WHEN x.skip_reason IS NOT NULL THEN %(gone)s END,
    state = CASE x.state WHEN 'leased' THEN 'expired' ELSE x.state END, lease_until = least(x.lease_until, {NOW})
FROM tasks t WHERE t.id = x.task_id AND t.prompt_id = ANY(%(ids)s::uuid[])
""",
    "tasks": """
UPDATE tasks SET removed_overlap = coalesce(removed_overlap, overlap), overlap = judged
WHERE prompt_id = ANY(%(ids)s::uuid[]) AND NOT gold
""",
}
OF_ASSIGNMENTS: dict[str, str] = {
    "answers": _SUBMISSIONS.format(**_ASSIGNED),
    "drafts": _DRAFTS.format(**_ASSIGNED),
    "assignments": """
UPDATE assignments SET skip_reason = %(gone)s
WHERE id = ANY(%(ids)s::uuid[]) AND skip_reason IS NOT NULL AND skip_reason <> %(gone)s
""",
}
# What a person decided, and all messages from and to them.
ELSEWHERE: dict[str, str] = {
    "comments": f"""
UPDATE comments x SET text = %(gone)s, settled_at = coalesce(x.settled_at, {NOW})
FROM comments c JOIN assignments a ON a.id = c.assignment_id JOIN tasks t ON t.id = a.task_id
WHERE x.id = c.id AND {{comments}} AND x.text <> %(gone)s
""",
    "decisions": f"""
UPDATE decisions x SET payload = {EMPTY.format(kind="x.kind", order=OF_TASK)},
    erased_at = {NOW}
FROM decisions d JOIN tasks t ON t.id = d.task_id WHERE x.id = d.id AND {{decisions}} AND x.erased_at IS NULL
""",
}
# What a project says itself.
OF_PROJECT: dict[str, str] = {
    "project": """
UPDATE projects SET name = 'erased ' || id::text, guidelines = '', closed_at = coalesce(closed_at, clock_timestamp()),
    archived_at = coalesce(archived_at, clock_timestamp())
WHERE id = %(project)s::uuid AND name <> 'erased ' || id::text
""",
    "standings": """
UPDATE standings SET reason = %(gone)s
WHERE project_id = %(project)s::uuid AND reason IS NOT NULL AND reason <> %(gone)s
""",
    "data sets": """
UPDATE datasets SET name = 'erased ' || id::text, mapping = NULL, notes = '', tags = '[]'::jsonb
WHERE project_id = %(project)s::uuid AND name <> 'erased ' || id::text
""",
    "snapshots": """
UPDATE snapshots s SET name = NULL, notes = '', tags = '[]'::jsonb
WHERE s.sources ->> 'project' = %(project)s AND (s.name IS NOT NULL OR s.notes <> '' OR s.tags <> '[]'::jsonb)
""",
}
# The words of a form; its ids and its shape stay, so that what refers to it can still be read.
FORMS = "SELECT id, spec FROM forms WHERE project_id = %(project)s::uuid"
FORM = "UPDATE forms SET spec = %(spec)s::jsonb WHERE id = %(id)s"
WORDS = frozenset({"text", "explanation", "instruction", "least_label", "most_label"})


def wordless(spec: object) -> object:
    """A form's spec without its words."""
    if isinstance(spec, dict):
        return {
            name: "[erased]" if name in WORDS and isinstance(value, str) and value else wordless(value)
            for name, value in spec.items()
        }
    return [wordless(item) for item in spec] if isinstance(spec, list) else spec
