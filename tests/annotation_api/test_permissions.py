"""Who may call what: every route against every role, in a table. A new route fails here until it is listed."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient

from annotation_api.db.tables import Role

# public, or the roles by their first letters: annotator, reviewer, engineer, m = admin
GOLDEN = """
GET /healthz public
GET /readyz public
GET /metrics rem
POST /v1/session public
DELETE /v1/session arem
GET /v1/me arem
POST /v1/me:password arem
GET /v1/people m
PATCH /v1/people/{person_id} m
GET /v1/people/{person_id} m
POST /v1/people/{person_id}:erase m
GET /v1/invitations m
DELETE /v1/invitations/{invitation_id} m
POST /v1/invitations m
POST /v1/invitations/{token}:accept public
POST /v1/api-keys arem
GET /v1/api-keys arem
GET /v1/api-keys/{key_id} arem
DELETE /v1/api-keys/{key_id} arem
POST /v1/projects em
GET /v1/projects arem
GET /v1/projects/{project_id} arem
PATCH /v1/projects/{project_id} em
GET /v1/projects/{project_id}/forms rem
POST /v1/projects/{project_id}/tasks em
POST /v1/projects/{project_id}/tasks:from-dataset em
GET /v1/projects/{project_id}/tasks rem
POST /v1/projects/{project_id}/next arm
POST /v1/assignments/{assignment_id}:renew arm
POST /v1/assignments/{assignment_id}:skip arm
PUT /v1/assignments/{assignment_id}/draft arm
POST /v1/submissions arm
GET /v1/submissions arem
GET /v1/submissions/{submission_id} arem
POST /v1/datasets em
POST /v1/datasets:preview em
GET /v1/imports/{key} em
GET /v1/datasets em
GET /v1/datasets/{dataset_id} em
GET /v1/datasets/{dataset_id}/rows em
POST /v1/snapshots em
GET /v1/snapshots em
GET /v1/snapshots/{snapshot_id} em
GET /v1/snapshots/{snapshot_id}/export em
POST /v1/jobs em
POST /v1/jobs:validate em
GET /v1/jobs rem
GET /v1/jobs/{job_id} rem
GET /v1/jobs/{job_id}/events rem
GET /v1/jobs/{job_id}/metrics rem
GET /v1/jobs/{job_id}/attempts rem
GET /v1/jobs/{job_id}/log rem
GET /v1/jobs/{job_id}/checkpoints rem
GET /v1/jobs/{job_id}/artifacts rem
GET /v1/jobs/{job_id}/artifacts/{name:path} rem
POST /v1/jobs/{job_id}:cancel em
POST /v1/jobs/{job_id}:pause em
POST /v1/jobs/{job_id}:retry em
POST /v1/jobs/{job_id}:resume em
POST /v1/pipelines em
GET /v1/pipelines rem
GET /v1/pipelines/{pipeline_id} rem
POST /v1/pipelines/{pipeline_id}:cancel em
POST /v1/pipelines/{pipeline_id}:resume em
POST /v1/models em
GET /v1/models rem
GET /v1/models/{model_id} rem
GET /v1/models/{model_id}/lineage rem
GET /v1/models/{model_id}/derived rem
GET /v1/snapshots/{snapshot_id}/derived em
GET /v1/datasets/{dataset_id}/derived em
GET /v1/aliases rem
PUT /v1/aliases/{name} em
GET /login public
POST /login public
POST /logout arem
POST /preferences public
GET /account arem
POST /account/password arem
GET /setup/{token} public
POST /setup/{token} public
GET /join/{token} public
POST /join/{token} public
GET /people m
POST /people m
POST /people/{person_id} m
GET /people/{person_id} m
GET /people/{person_id}/erase m
POST /people/{person_id}/erase m
POST /people/invitations/{invitation_id}/withdraw m
GET /keys arem
POST /keys arem
POST /keys/{key_id}/revoke arem
GET / arem
GET /mine arm
GET /projects/new em
POST /projects em
GET /projects/{project_id} arem
GET /projects/{project_id}/edit em
POST /projects/{project_id}/edit em
POST /projects/{project_id}/tasks em
GET /projects/{project_id}/annotate arm
POST /projects/{project_id}/annotate arm
POST /projects/{project_id}/card arm
POST /projects/{project_id}/skip arm
GET /projects/{project_id}/correct arm
GET /datasets em
POST /datasets em
POST /datasets/preview em
GET /datasets/{dataset_id} em
GET /snapshots em
POST /snapshots em
GET /snapshots/{snapshot_id} em
GET /jobs rem
GET /jobs/{job_id} rem
GET /jobs/{job_id}/report rem
POST /jobs/{job_id}/cancel em
POST /jobs/{job_id}/pause em
POST /jobs/{job_id}/resume em
POST /jobs/{job_id}/retry em
GET /pipelines rem
GET /pipelines/{pipeline_id} rem
POST /pipelines/{pipeline_id}/cancel em
POST /pipelines/{pipeline_id}/resume em
GET /models rem
GET /models/{model_id} rem
"""
LETTERS = {"a": Role.ANNOTATOR, "r": Role.REVIEWER, "e": Role.ENGINEER, "m": Role.ADMIN}


def table() -> dict[tuple[str, str], frozenset[Role] | None]:
    """(method, path) -> roles, None for public."""
    rows = (line.split(" ") for line in GOLDEN.strip().splitlines())
    return {
        (method, path): None if who == "public" else frozenset(LETTERS[letter] for letter in who)
        for method, path, who in rows
    }


def routes(app: FastAPI) -> set[tuple[str, str]]:
    return {
        (method, str(context.path))
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute)
        for method in context.methods or ()
    }


def test_every_route_is_listed(app: FastAPI) -> None:
    found, listed = routes(app), set(table())
    assert found - listed == set(), "list the new routes in GOLDEN, with who may call them"
    assert listed - found == set(), "these routes are gone: take them out of GOLDEN"


def call(client: TestClient, method: str, path: str) -> int:
    """The status for ids that name nothing and an empty body: whoever is let through gets 2xx, 404 or 422."""
    filled = re.sub(r"\{[^}]+\}", str(uuid.uuid4()), path)
    with client.stream(method, filled, follow_redirects=False) as answer:
        return answer.status_code


@pytest.mark.parametrize("role", [None, *Role])
def test_roles_get_what_the_table_says(app: FastAPI, as_: Callable[..., TestClient], role: Role | None) -> None:
    anonymous = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    client = as_(role) if role else anonymous
    wrong = []
    for (method, path), roles in table().items():
        status = call(client, method, path)
        public_fails = roles is None and status not in (401, 403) and status < 500
        if roles is None:
            fine = public_fails or path in ("/v1/session", "/login")  # they answer 401 or 422 to an empty sign-in
        elif role is None:
            fine = status == 401
        elif role in roles:
            fine = status not in (401, 403) and status < 500
        else:
            fine = status == 403
        if not fine:
            wrong.append(f"{method} {path}: {status}")
    assert wrong == []


def test_the_table_keeps_the_promises_of_the_matrix() -> None:
    """Read off the table itself: annotators see no runs, engineers do not rank, only admins handle people."""
    for (method, path), roles in table().items():
        if roles is None:
            continue
        assert Role.ADMIN in roles, path
        if re.search(r"/(jobs|models|datasets|snapshots|pipelines|aliases)", path):
            assert Role.ANNOTATOR not in roles, path
        if re.search(r"/(people|invitations)", path):
            assert roles == {Role.ADMIN}, path
        if method != "GET" and re.search(r"/(jobs|models|datasets|snapshots|pipelines|aliases)", path):
            assert roles == {Role.ENGINEER, Role.ADMIN}, path
        if re.search(r"/(annotate|next|skip|card)|:skip|:renew|/correct", path):
            assert Role.ENGINEER not in roles, path
