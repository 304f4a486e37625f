"""A base model registered from a page, with the answer of `models check` before it is in the registry."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import ModelVersion, Role
from annotation_api.models import checking
from tests.annotation_api.web.test_pages import Page
from tests.support.alignment import tiny

BrowserOf = Callable[[Role], TestClient]


@pytest.fixture
def folder(app) -> Path:  # type: ignore[no-untyped-def]
    """A whole tiny model below the allowed root."""
    return tiny.save(tiny.causal(), app.state.settings.home / "models" / "tiny")


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(ModelVersion)) or 0


def test_a_folder_is_looked_at_and_then_registered(browser_of: BrowserOf, session: Session, folder: Path) -> None:
    browser = browser_of(Role.ENGINEER)
    assert str(folder.parent) in browser.get("/models/new").text
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "own.Own"}}))
    told = browser.post("/models", data={"path": str(folder), "do": "check"})
    assert "names code of the model's own (auto_map); the library knows the family" in Page(told.text).text
    assert told.status_code == 200
    assert "language model" in Page(told.text).text
    assert "LlamaForCausalLM" in Page(told.text).text
    assert count(session) == 0
    chinese = {"Accept-Language": "zh"}
    told = browser.post("/models", data={"path": str(folder), "do": "check"}, headers=chinese)
    assert "config.json 指向模型自带的代码（auto_map）；模型库本身认识这个系列" in Page(told.text).text
    assert ("语言模型" in Page(told.text).text, "language model" in Page(told.text).text) == (True, False)
    names = re.findall(r"<dt>([^<]+)</dt>", told.text)
    assert [name for name in names if name.isascii()] == []
    assert len(names) > 10
    weights = folder / "model.safetensors"
    weights.rename(folder / "model.bin")
    for do in ("check", "register"):
        told = browser.post("/models", data={"path": str(folder), "do": do}, headers=chinese)
        assert "其中的权重只有 model.bin，加载它可能会运行代码。" in Page(told.text).text
    (folder / "model.bin").rename(weights)
    made = browser.post("/models", data={"path": str(folder), "do": "register"})
    assert made.status_code == 303
    assert session.scalars(select(ModelVersion)).one().name == "tiny"
    assert browser.post("/models", data={"path": str(folder)}).headers["location"] == made.headers["location"]
    assert count(session) == 1


def test_what_cannot_be_used_is_told_and_what_was_typed_stays(browser_of: BrowserOf, session: Session) -> None:
    for do in ("check", "register"):
        answer = browser_of(Role.ENGINEER).post("/models", data={"path": "/etc", "name": "x", "do": do})
        assert answer.status_code == 422
        assert "There is no folder /etc below an allowed root" in Page(answer.text).text
        assert Page(answer.text).fields["path"] == "/etc"
    assert count(session) == 0


def test_one_check_at_a_time_and_its_time_is_limited(
    as_,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    client, body = as_(Role.ENGINEER), {"path": str(folder)}
    with checking._one:
        assert client.post("/v1/models:check", json=body).status_code == 429
    monkeypatch.setattr(checking, "CHECK_SECONDS", 0.01)
    answer = client.post("/v1/models:check", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/path")
    assert "took longer than" in answer.json()["errors"][0]["message"]
