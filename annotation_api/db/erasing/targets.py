"""What is to be erased, as conditions in SQL: a prompt with what hangs on it, a person's answers, a whole project.

A record is known by its messages: their hash finds the prompts of projects, the messages themselves find rows of data
sets and lines of snapshots. Limited to a project, nothing outside of it is touched.
"""

from __future__ import annotations

from typing import Any

from alignment.shared.records import canonical_json
from annotation_api.db.kinds import ErasureScope
from annotation_api.db.tables import Erasure

Values = dict[str, Any]
NEVER = "false"
GONE = "[erased]"


def values_of(erasure: Erasure) -> Values:
    """What the statements of all steps are given."""
    project = erasure.target.get("project") or erasure.project_id
    return {
        "project": str(project) if project else None,
        "person": erasure.target.get("person"),
        "key": erasure.target.get("key"),
        "messages": canonical_json(erasure.sought) if erasure.sought else None,
        "gone": GONE,
    }


def _in_project(erasure: Erasure, condition: str, column: str) -> str:
    return f"{condition} AND {column} = %(project)s::uuid" if erasure.project_id else condition


def prompts(erasure: Erasure) -> str:
    """Of `prompts p`."""
    if erasure.scope is ErasureScope.PERSON:
        return NEVER
    if erasure.scope is ErasureScope.PROJECT:
        return "p.project_id = %(project)s::uuid"
    return _in_project(erasure, "p.key = %(key)s", "p.project_id")


def assignments(erasure: Erasure) -> str:
    """Of `assignments a` with `tasks t`: those of a person."""
    if erasure.scope is not ErasureScope.PERSON:
        return NEVER
    return _in_project(erasure, "a.person_id = %(person)s::uuid", "t.project_id")


def decisions(erasure: Erasure) -> str:
    """Of `decisions d` with `tasks t`: those that the person made."""
    if erasure.scope is not ErasureScope.PERSON:
        return NEVER
    return _in_project(erasure, "d.reviewer_id = %(person)s::uuid", "t.project_id")


def comments(erasure: Erasure) -> str:
    """Of `comments c` with `tasks t`: what the person wrote, and what was written to them."""
    if erasure.scope is not ErasureScope.PERSON:
        return NEVER
    said = "(c.author_id = %(person)s::uuid OR a.person_id = %(person)s::uuid)"
    return _in_project(erasure, said, "t.project_id")


def dataset_rows(erasure: Erasure) -> str:
    """Of `dataset_rows d` with `datasets s`."""
    if erasure.scope is ErasureScope.PERSON:
        return NEVER
    if erasure.scope is ErasureScope.PROJECT:
        return "s.project_id = %(project)s::uuid"
    asks = "coalesce(d.record #> '{prompt,messages}', d.record -> 'messages') = %(messages)s::jsonb"
    return _in_project(erasure, asks, "s.project_id")


# Snapshots of the project itself, of its data sets, and of those that were prepared from either.
OF_PROJECT = """(s.sources ->> 'project' = %(project)s OR EXISTS (
    SELECT FROM datasets own WHERE own.project_id = %(project)s::uuid AND s.sources -> 'datasets' ? own.id::text
))"""
BY_PERSON = """r.submission_id IN (
    SELECT said.id FROM submissions said WHERE said.person_id = %(person)s::uuid
        AND (%(project)s::uuid IS NULL OR said.project_id = %(project)s::uuid)
)"""
BY_DECISION = """(r.submission_id IS NULL AND r.dataset_id IS NULL AND r.line LIKE '%%"decision":%%' AND EXISTS (
    SELECT FROM decisions d JOIN tasks t ON t.id = d.task_id
    WHERE d.id::text = (CASE WHEN r.line <> '' THEN r.line::jsonb END) #>> '{lineage,decision}'
        AND d.reviewer_id = %(person)s::uuid AND (%(project)s::uuid IS NULL OR t.project_id = %(project)s::uuid)
))"""


def snapshot_rows(erasure: Erasure) -> str:
    """Of `snapshot_rows r` with `snapshots s`."""
    if erasure.scope is ErasureScope.PROJECT:
        return OF_PROJECT
    if erasure.scope is ErasureScope.PERSON:
        return f"({BY_PERSON} OR {BY_DECISION})"
    asks = "strpos(r.line, '\"messages\":' || %(messages)s::text) > 0"
    return f"{asks} AND {OF_PROJECT}" if erasure.project_id else asks
