"""In a real Chromium: a reviewer's hour and a project owner's day, from the first page to the last."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from alignment.shared.records import Prompt, Ranking
from annotation_api.db.tables import DatasetKind, Person, Role
from annotation_api.http import auth

pytestmark = pytest.mark.browser
LOOKS: tuple[dict[str, Any], ...] = (
    {"viewport": {"width": 1440, "height": 900}},
    {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
)


class Team:
    """People of a deployment, each with a browser; a fault of a script, or a request to elsewhere, fails the test."""

    def __init__(self, url: str, browser: Browser, engine: Engine, factory: Callable[..., Any]) -> None:
        self.url, self.browser, self.engine, self.factory = url, browser, engine, factory
        self.faults: list[str] = []
        self.contexts: list[BrowserContext] = []

    def open(self, person: Person, **look: Any) -> Page:
        with Session(self.engine) as session:
            token = auth.start_session(session, session.merge(person))
            session.commit()
        context = self.browser.new_context(base_url=self.url, **look)
        context.add_cookies([{"name": "rankloop", "value": token, "url": self.url}])
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda it: None if it.url.startswith((self.url, "data:")) else self.faults.append(it.url))
        return page


@pytest.fixture
def team(desk_url: str, desk_chromium: Browser, module_engine: Engine, factory: Callable[..., Any]) -> Iterator[Team]:
    found = Team(desk_url, desk_chromium, module_engine, factory)
    yield found
    for context in found.contexts:
        context.close()
    assert found.faults == []


@pytest.mark.parametrize("look", LOOKS, ids=["wide", "phone"])
def test_a_reviewer_s_hour(team: Team, look: dict[str, Any]) -> None:
    """Reads an answer and sends it back, decides what is disputed, makes it gold, looks at people and hours."""
    with Session(team.engine, expire_on_commit=False) as session:
        make = team.factory(session)
        project, reviewer = make.project(), make.person(Role.REVIEWER)
        task = make.task(make.prompt(project, "What is 2 + 2?"), ("four", "five"), overlap=2)
        hasty = make.person(Role.ANNOTATOR, pseudonym=f"person-{uuid.uuid4().hex[:6]}")
        make.submission(task, [[1], [0]], hasty, active_ms=900)
        make.submission(task, [[0], [1]], active_ms=20_000)
        session.commit()
    page, review = team.open(reviewer, **look), f"/projects/{project.id}/review"
    page.goto(f"/projects/{project.id}")
    page.get_by_role("link", name="Review and quality").click()
    page.get_by_label("Under seconds").fill("2")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody a").first.click()
    expect(page.get_by_role("main")).to_contain_text(hasty.pseudonym)
    page.get_by_label("Comment to the person").fill("Please count again.")
    page.get_by_role("button", name="Send back").click()
    expect(page.get_by_role("main")).to_contain_text("sent back")
    page.goto(f"{review}/disputed")
    page.get_by_role("link", name="What is 2 + 2?").click()
    for label, rank in (("A", 1), ("B", 2)):
        page.get_by_label(f"Rank {rank} for answer {label}").check(force=True)
    page.get_by_role("button", name="Decide", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Decided by")
    page.get_by_label("The decision is what is expected").check()
    page.get_by_label("Why, in a sentence").fill("Four it is.")
    page.get_by_role("button", name="Make it a gold item").click()
    expect(page.locator("#gold")).to_contain_text("Expected: A › B")
    for room, says in (("disputed", "Nobody disagrees."), ("annotators", hasty.pseudonym), ("hours", hasty.pseudonym)):
        page.goto(f"{review}/{room}")
        expect(page.get_by_role("main")).to_contain_text(says)


@pytest.mark.parametrize("look", LOOKS, ids=["wide", "phone"])
def test_an_owner_s_day(team: Team, look: dict[str, Any]) -> None:
    """Makes a project, sees what a fill makes, fills, takes a task out, lets somebody in, freezes, erases, closes."""
    with Session(team.engine, expire_on_commit=False) as session:
        make = team.factory(session)
        owner, colleague = make.person(Role.ENGINEER), make.person(Role.ANNOTATOR)
        rows = [
            Ranking(prompt=Prompt.from_text(f"Q{n}?"), responses=("yes", "no"), groups=((0,), (1,))) for n in range(3)
        ]
        dataset = make.dataset(DatasetKind.PREFERENCES, rows, owner)
        session.commit()
    page, name = team.open(owner, **look), f"Day {uuid.uuid4().hex[:6]}"
    page.goto("/projects/new")
    page.get_by_role("link", name="Helpful, honest, harmless ranking").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Make the project").click()
    page.get_by_label("Data set").select_option(str(dataset.id))
    page.get_by_role("button", name="See how many it makes").click()
    expect(page.get_by_role("status")).to_contain_text("It would make 3 new tasks")
    page.get_by_role("button", name=re.compile(r"Make \d+ tasks")).click()
    expect(page.get_by_role("status")).to_contain_text("3 new tasks from 3 rows")
    project = page.url.split("/tasks")[0].removeprefix(team.url)
    page.goto(f"{project}/tasks")
    page.get_by_label("Choose the task: Q1?").check()
    page.get_by_role("button", name="Take out the chosen ones").click()
    expect(page.get_by_role("status")).to_contain_text("Deleted: 1")
    page.goto(f"{project}/members")
    page.get_by_label("E-mail or pseudonym").fill(colleague.pseudonym)
    page.get_by_role("button", name="Let in").click()
    expect(page.get_by_role("main")).to_contain_text(colleague.pseudonym)
    page.goto(f"{project}/agreement")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.goto(f"/snapshots?project={project.rpartition('/')[2]}")
    page.locator("select[name=kind]").select_option("prompts")
    expect(page.locator("select[name=paused]")).to_be_hidden()  # a question of judgements
    page.get_by_role("button", name="Freeze").click()
    expect(page.get_by_role("main")).to_contain_text("Q0?")
    page.goto(f"{project}/tasks")
    page.get_by_role("link", name="Q2?").click()
    page.get_by_role("link", name="Erase the prompt and what hangs on it").click()
    expect(page.get_by_role("main")).to_contain_text("Nobody can undo this.")
    page.locator("#reason").fill("Its author asked for it.")
    page.get_by_role("button", name="Erase it for good").click()
    expect(page.get_by_role("main")).to_contain_text("It waits for the dispatcher.")
    page.goto(project)
    page.get_by_role("button", name="Close the project").click()
    expect(page.get_by_role("main")).to_contain_text("Closed since")
