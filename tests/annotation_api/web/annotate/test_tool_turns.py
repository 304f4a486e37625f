"""Calls of tools and their results on the pages: plain text under a label, whatever stands in them."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from alignment.shared.records import Prompt
from annotation_api.db.tables import Role

HOSTILE = "<script>alert(1)</script> **bold** [x](https://evil.example)"
PROMPT = Prompt.model_validate_json(
    json.dumps(
        {
            "messages": [
                {"role": "user", "content": "Rain?"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": "c1", "function": {"name": "weather<b>", "arguments": {"at": HOSTILE}}}],
                },
                {"role": "tool", "tool_call_id": "c1", "name": "weather<b>", "content": HOSTILE},
            ],
            "tools": [{"name": "weather<b>", "description": HOSTILE}],
        }
    )
)


def shown(text: str) -> str:
    return html.escape(text, quote=False)


def test_tools_are_plain_text_under_a_label(browser_of: Callable[..., TestClient], make: Any, session: Session) -> None:
    project = make.project()
    task = make.task(make.prompt(project, PROMPT), ("dry", "wet"))
    session.commit()
    url = f"/projects/{project.id}"
    for browser, path in (
        (browser_of(Role.ANNOTATOR), f"{url}/annotate"),
        (browser_of(Role.ENGINEER), f"{url}/tasks/{task.id}"),
        (browser_of(Role.REVIEWER), f"{url}/review/tasks/{task.id}"),
    ):
        answer = browser.get(path)
        assert answer.status_code == 200, path
        page = answer.text.replace("&#34;", '"').replace("&#39;", "'")
        assert "<script>alert" not in page
        for label in ("Calls the tool weather&lt;b&gt;", "Result of the tool weather&lt;b&gt;", "may call: 1"):
            assert label in page, (path, label)
        assert f'<pre dir="auto">{shown(HOSTILE)}</pre>' in page  # neither bold nor a link
        assert f'<pre dir="auto">{{"at": "{shown(HOSTILE)}"}}</pre>' in page


def test_chinese_labels(browser_of: Callable[..., TestClient], make: Any, session: Session) -> None:
    project = make.project()
    make.task(make.prompt(project, PROMPT), ("dry", "wet"))
    session.commit()
    page = browser_of(Role.ANNOTATOR).get(f"/projects/{project.id}/annotate", headers={"Accept-Language": "zh"})
    assert "调用工具 weather" in page.text
    assert "工具 weather&lt;b&gt; 的返回结果" in page.text
