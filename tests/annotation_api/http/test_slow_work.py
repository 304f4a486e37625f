"""No connection to the database is held while slow work runs that asks it nothing: files that are read, folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from annotation_api.datasets import service as datasets
from annotation_api.db.tables import Role
from annotation_api.models import checking, uploads
from tests.support.jobs import As

ROW = b'{"prompt": "Name a tree.", "response": "Oak."}\n'
FILE = {"file": ("rows.jsonl", ROW)}
KIND = {"kind": "demonstrations"}
Send = Callable[[TestClient], Any]


def finish_an_upload(client: TestClient) -> Any:
    begun = client.post("/v1/model-uploads", json={"name": "mine"}).json()
    return client.post(f"/v1/model-uploads/{begun['id']}:finish", json={"sha256": {"model.safetensors": "0" * 64}})


WORK: dict[str, tuple[Any, str, Send, bool]] = {
    "a folder is checked": (checking, "_run", lambda it: it.post("/v1/models:check", json={"path": "it"}), False),
    "on its page": (checking, "_run", lambda it: it.post("/models", data={"path": "it", "do": "check"}), True),
    "an upload is hashed": (uploads, "check_hashes", finish_an_upload, False),
    "a file is looked at": (
        datasets,
        "Reading",
        lambda it: it.post("/v1/datasets:preview", files=FILE, data=KIND),
        False,
    ),
    "a file on its page": (datasets, "Reading", lambda it: it.post("/datasets/preview", files=FILE, data=KIND), True),
    "an import is hashed": (datasets, "sha256_of", lambda it: it.post("/v1/datasets", files=FILE, data=KIND), False),
}


@pytest.mark.parametrize(("module", "name", "send", "page"), WORK.values(), ids=list(WORK))
def test_no_connection_is_held_meanwhile(
    app: FastAPI,
    as_: As,
    browser_of: As,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    send: Send,
    page: bool,
) -> None:
    client = (browser_of if page else as_)(Role.ENGINEER)
    monkeypatch.setattr(checking.folders, "resolve", lambda path, settings: str(tmp_path))
    made: list[Session] = []
    held: list[bool] = []
    sessions = app.state.sessions

    def note_session() -> Session:
        made.append(sessions())
        return made[-1]

    def slow(*given: Any, **named: Any) -> Any:
        held.append(any(session.in_transaction() for session in made))
        return {"facts": {}, "notes": []} if name == "_run" else work(*given, **named)

    work = getattr(module, name)
    app.state.sessions = note_session
    monkeypatch.setattr(module, name, slow)
    answer = send(client)
    assert answer.status_code in (200, 201, 422), answer.text
    assert held
    assert not any(held)
