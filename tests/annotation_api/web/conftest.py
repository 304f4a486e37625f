"""A desk in a real Chromium: one server and one browser for a module, a person and a project for each test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from annotation_api.annotation.submissions import queries as judgements
from annotation_api.db.forms import RankingForm
from annotation_api.db.tables import Person, Project, ResponseRow, Role, Submission
from annotation_api.http import auth
from annotation_api.settings import Settings
from tests.support.live import app_of, chromium, served


@pytest.fixture(scope="module")
def desk_url(module_engine: Engine) -> Iterator[str]:
    with served(app_of(Settings(database_url="postgresql://given-by-the-engine"), module_engine)) as url:
        yield url


@pytest.fixture(scope="module")
def desk_chromium() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


class Desk:
    """One person at one project. Tasks are handed out in the order in which they were added."""

    def __init__(self, url: str, browser: Browser, engine: Engine, factory: Any) -> None:
        self.url, self.browser, self.engine, self.factory = url, browser, engine, factory
        self.contexts: list[BrowserContext] = []
        self.faults: list[str] = []
        self.added = 0
        self.project_id = self.person_id = uuid.uuid4()

    def open_with_clock(self, *tasks: Sequence[str], **fields: Any) -> Page:
        """As `begin`, but the page's time is the test's to move."""
        self.begin(*tasks, **fields)
        context = self.context(self.person_id)
        context.clock.install()
        return self.page(context)

    def begin(self, *tasks: Sequence[str], form: Any = None, **fields: Any) -> Page:
        """A project with a ranking task for each sequence of texts, open on a desktop."""
        with Session(self.engine) as session:
            project: Project = self.factory(session).project(forms=[form or RankingForm()], **fields)
            self.project_id = project.id
            session.commit()
        for texts in tasks:
            self.add(texts)
        self.person_id = self.person()
        return self.open(self.person_id)

    def add(self, texts: Sequence[str], prompt: str | None = None, **fields: Any) -> None:
        self.added += 1
        with Session(self.engine) as session:
            make, project = self.factory(session), session.get_one(Project, self.project_id)
            asked = make.prompt(project, prompt or f"Question {self.added}?")
            make.task(asked, tuple(texts), priority=1000 - self.added, **fields)
            session.commit()

    def person(self, **fields: Any) -> uuid.UUID:
        with Session(self.engine) as session:
            person: Person = self.factory(session).person(Role.ANNOTATOR, **fields)
            session.commit()
            return person.id

    def context(self, person: uuid.UUID, **options: Any) -> BrowserContext:
        """A signed-in browser of a person."""
        with Session(self.engine) as session:
            token = auth.start_session(session, session.get_one(Person, person))
            session.commit()
        context = self.browser.new_context(base_url=self.url, **{"viewport": {"width": 1280, "height": 800}} | options)
        context.add_cookies([{"name": "rankloop", "value": token, "url": self.url}])
        self.contexts.append(context)
        return context

    def open(self, person: uuid.UUID, **options: Any) -> Page:
        return self.page(self.context(person, **options), scripts=options.get("java_script_enabled", True))

    def page(self, context: BrowserContext, scripts: bool = True) -> Page:
        """A tab at the desk, which notes script errors and requests to anywhere else."""
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda it: None if it.url.startswith((self.url, "data:")) else self.faults.append(it.url))
        page.goto(f"/projects/{self.project_id}/annotate")
        if scripts:
            ready(page)
        return page

    def stored(self) -> list[Submission]:
        """The submissions of the project, oldest first."""
        with Session(self.engine, expire_on_commit=False) as session:
            query = judgements.submissions(project=self.project_id, person=None)
            return list(session.scalars(query.order_by(Submission.seq)))

    def texts(self, row: Submission) -> list[list[str]]:
        """The groups of a ranking as texts, each group sorted."""
        with Session(self.engine) as session:
            return [
                sorted(session.get_one(ResponseRow, uuid.UUID(key)).text for key in group)
                for group in row.payload["groups"]
            ]


def ready(page: Page) -> None:
    """The scripts have the page in hand."""
    expect(page.locator("#desk")).to_have_attribute("data-ready", "yes")


@pytest.fixture
def desk(desk_url: str, desk_chromium: Browser, module_engine: Engine, factory: Callable[..., Any]) -> Iterator[Desk]:
    found = Desk(desk_url, desk_chromium, module_engine, factory)
    yield found
    for context in found.contexts:
        context.close()
    assert found.faults == []
