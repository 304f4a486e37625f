"""What an API key may be used for, if less than all that its person's role allows.

A key without scopes does everything. One with scopes reads what its person may read if it has `read`, and does in an
area of the API what its person may do if it has the area's name, which includes reading there. Pages are for people.
"""

from __future__ import annotations

import re
from enum import StrEnum

from fastapi import Request

from alignment.shared.sentence import Sentence
from annotation_api.http.auth import Key
from annotation_api.http.errors import ApiError
from annotation_api.http.scopes import SAFE_METHODS, route_of


class Scope(StrEnum):
    READ = "read"  # everything, of every area
    ANNOTATE = "annotate"  # claims, drafts and answers
    DATA = "data"  # projects, tasks, data sets, snapshots
    JOBS = "jobs"  # jobs, pipelines, models
    PEOPLE = "people"  # accounts, invitations, keys, the audit


AREAS = (
    (re.compile(r"/v1/(assignments|submissions)\b|/v1/projects/\{project_id\}/next"), Scope.ANNOTATE),
    (re.compile(r"/v1/(projects|datasets|imports|snapshots|freezes|erasures)\b"), Scope.DATA),
    (re.compile(r"/v1/(jobs|pipelines|models|model-uploads|aliases|leaderboard)\b"), Scope.JOBS),
    (re.compile(r"/v1/(people|invitations|api-keys|session|me|audit|resets)\b"), Scope.PEOPLE),
)
FOR_ALL = ("/v1/me", "/metrics", "/healthz", "/readyz")  # to look at, with any key


def check(request: Request, key: Key) -> None:
    """403 if the key's scopes do not reach to this route."""
    if key.scopes is None:
        return
    route, reads = route_of(request.scope), request.method in SAFE_METHODS
    if reads and route in FOR_ALL:
        return
    needed = area_of(route)
    if needed is None:
        raise ApiError(
            403,
            "out-of-scope",
            Sentence("keys-are-for-the-api", "An API key with scopes is for /v1/... only; sign in to use the pages."),
        )
    if needed not in key.scopes and not (reads and Scope.READ in key.scopes):
        words = f"{needed.value} or read" if reads else needed.value
        raise ApiError(
            403,
            "out-of-scope",
            Sentence(
                "scope-needed",
                "This needs the scope %(words)s; the key has %(scopes)s.",
                words=words,
                scopes=in_words(key.scopes),
            ),
        )


def area_of(route: str) -> Scope | None:
    return next((area for pattern, area in AREAS if pattern.match(route)), None)


def in_words(scopes: frozenset[str]) -> str:
    return ", ".join(sorted(scopes)) or "none"
