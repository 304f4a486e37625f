"""The form to freeze, in a real Chromium: it offers what the chosen source can have."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page
from sqlalchemy.orm import Session

from alignment.shared.records import Demonstration, Prompt, Ranking
from annotation_api.db.forms import Rule, RulesForm
from annotation_api.db.tables import DatasetKind, Role

pytestmark = pytest.mark.browser
PROMPT = Prompt.from_text("Q?")


def offered(page: Page, source: str) -> set[str]:
    page.get_by_label("From").select_option(label=source)
    return set(
        page.get_by_label("As").locator("option:not([disabled])").evaluate_all("all => all.map((it) => it.value)")
    )


def test_only_kinds_that_the_source_can_have_are_offered(desk: Any) -> None:
    with Session(desk.engine) as session:
        make = desk.factory(session)
        engineer = make.person(Role.ENGINEER)
        make.project(name="By rules", forms=[RulesForm(rules=(Rule(id="a", text="Be kind."),))])
        make.dataset(DatasetKind.DEMONSTRATIONS, [Demonstration(prompt=PROMPT, response="a")]).name = "shown"
        ranked = Ranking(prompt=PROMPT, responses=("a", "b"), groups=((0,), (1,)))
        make.dataset(DatasetKind.RANKINGS, [ranked]).name = "ranked"
        session.commit()
        who = engineer.id
    page = desk.context(who).new_page()
    page.goto("/snapshots")
    assert offered(page, "By rules") == {"verdicts", "demonstrations", "prompts"}
    assert offered(page, "shown · demonstrations") == {"demonstrations", "conversations", "prompts"}
    assert offered(page, "ranked · rankings") >= {"rankings", "prompts"}
    assert "verdicts" not in offered(page, "ranked · rankings")
    assert page.locator("select[name=kind]").input_value() in offered(page, "ranked · rankings")
