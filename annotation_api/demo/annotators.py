"""Scripted annotators at work: each signs in over HTTP and ranks until nothing is left."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from alignment.shared.records import Prompt
from alignment.toyworld.people import Annotator
from annotation_api.http.patience import Patient


def sign_up(admin: httpx.Client, annotator: Annotator, password: str) -> None:
    """Invite the annotator as the admin and accept the invitation as the new person."""
    invitation = admin.post("/v1/invitations", json={"role": "annotator"}).raise_for_status().json()
    person = {"email": annotator.email, "name": annotator.name, "password": password}
    with httpx.Client(base_url=admin.base_url, timeout=30, transport=Patient()) as client:
        client.post(f"/v1/invitations/{invitation['token']}:accept", json=person).raise_for_status()


def work(url: str, project: str, annotator: Annotator, password: str, tick: Callable[[], None]) -> int:
    """Sign in, rank task after task, return how many were ranked."""
    with httpx.Client(base_url=url, timeout=60, transport=Patient()) as client:
        client.post("/v1/session", json={"email": annotator.email, "password": password}).raise_for_status()
        done = 0
        while (answer := client.post(f"/v1/projects/{project}/next").raise_for_status()).status_code == 200:
            client.post("/v1/submissions", json=_submission(annotator, answer.json())).raise_for_status()
            done += 1
            tick()
        return done


def work_together(
    url: str, project: str, annotators: Sequence[Annotator], password: str, tick: Callable[[], None]
) -> int:
    """All annotators at once, a thread each; returns the number of rankings."""
    with ThreadPoolExecutor(len(annotators)) as pool:
        return sum(pool.map(lambda a: work(url, project, a, password, tick), annotators))


def _submission(annotator: Annotator, task: dict[str, Any]) -> dict[str, Any]:
    shown = task["responses"]
    groups = annotator.rank(Prompt.model_validate_json(json.dumps(task["prompt"])), [r["text"] for r in shown])
    return {
        "id": str(uuid.uuid4()),
        "assignment": task["assignment"],
        "kind": "ranking",
        "payload": {"groups": [[shown[i]["id"] for i in group] for group in groups]},
    }
