"""In a real Chromium: sign in, rank by mouse and keyboard, see the next task; follow a job live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import Role, Submission
from annotation_api.http import auth
from annotation_api.settings import Settings
from tests.support.live import app_of, served

pytestmark = pytest.mark.browser

PASSWORD = "three plain words"


@pytest.fixture
def url(fresh_engine: Engine) -> Iterator[str]:
    with served(app_of(Settings(database_url="postgresql://given-by-the-engine"), fresh_engine)) as url:
        yield url


@pytest.fixture
def page(desk_chromium: Browser, url: str) -> Iterator[Page]:
    """A page that fails its test on a script error or a request to anywhere else."""
    context = desk_chromium.new_context(base_url=url, viewport={"width": 360, "height": 740})
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: None if request.url.startswith(url) else faults.append(request.url))
    yield page
    context.close()
    assert faults == []


def _fill(engine: Engine, factory: Any) -> None:
    with Session(engine) as session:
        make = factory(session)
        make.person(Role.ANNOTATOR, email="ann@example.org", password_hash=auth.hash_password(PASSWORD))
        make.person(Role.ENGINEER, email="eng@example.org", password_hash=auth.hash_password(PASSWORD))
        project = make.project(name="Politeness", lease_seconds=3)
        texts = ("<img src=https://evil.example/x.png onerror=alert(1)>", "很好，谢谢！", "no")
        make.task(make.prompt(project, "First question?"), texts, priority=1)
        make.task(make.prompt(project, "Second question?"))
        session.commit()


def _sign_in(page: Page, email: str) -> None:
    page.goto("/login")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()


def _card(page: Page, text: str) -> str:
    """The letter of the answer with this text."""
    card = page.get_by_role("article").filter(has=page.locator(".rich", has_text=text))
    return card.get_by_role("heading").inner_text().removeprefix("Answer ")


def test_a_person_ranks_by_the_form_and_sees_the_next_task(page: Page, fresh_engine: Engine, factory: Any) -> None:
    _fill(fresh_engine, factory)
    _sign_in(page, "ann@example.org")
    page.get_by_role("link", name="Start ranking").click()
    expect(page.locator(".prompt .rich")).to_have_text("First question?")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360

    page.get_by_role("button", name="Submit and go on").click()  # nothing is chosen: the browser refuses
    expect(page.locator(".prompt .rich")).to_have_text("First question?")

    hostile, good, bad = (_card(page, text) for text in ("onerror", "很好", "no"))
    page.get_by_role("radio", name=f"Rank 1 for answer {good}").check()
    page.get_by_role("radio", name=f"Rank 2 for answer {hostile}").check()
    page.get_by_role("radio", name=f"Rank 1 for answer {bad}").focus()
    page.keyboard.press("ArrowRight")  # radios move with the arrows, without any script of ours
    with page.expect_response("**:renew") as renewed:  # a lease of 3 s is prolonged while the page is open
        pass
    assert renewed.value.ok
    page.get_by_role("button", name="Submit and go on").click()

    expect(page.locator(".prompt .rich")).to_have_text("Second question?")
    expect(page.get_by_role("status")).to_contain_text("1 done today")
    with Session(fresh_engine) as session:
        groups = session.scalars(select(Submission)).one().payload["groups"]
    assert [len(group) for group in groups] == [1, 2]

    page.get_by_role("link", name="Change my last answer").click()
    expect(page.get_by_role("radio", name=f"Rank 1 for answer {good}")).to_be_checked()
    page.get_by_role("radio", name=f"Rank 3 for answer {bad}").check()
    page.get_by_role("button", name="Change my answer").click()
    expect(page.locator(".prompt .rich")).to_have_text("Second question?")
    expect(page.locator("#desk")).to_have_attribute("data-unsent", "0")
    with Session(fresh_engine) as session:
        newest = session.scalars(select(Submission).order_by(Submission.seq.desc())).first()
    assert newest is not None
    assert [len(group) for group in newest.payload["groups"]] == [1, 1, 1]
