"""In a real Chromium: a project of each form, from the engineer's page over the keyboard to a snapshot."""

from __future__ import annotations

import json
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

QUESTIONS = 3  # rows of the data set


class Works:
    """An admin, who may do everything, at the desktop; `begin` makes a project in the browser and fills it."""

    def __init__(self, url: str, browser: Browser, engine: Engine, factory: Callable[..., Any]) -> None:
        self.url, self.browser = url, browser
        self.faults: list[str] = []
        with Session(engine) as session:
            make = factory(session)
            admin: Person = make.person(Role.ADMIN)
            rows = [
                Ranking(
                    prompt=Prompt.from_text(f"Question {n}?"), responses=(f"good {n}", f"bad {n}"), groups=((0,), (1,))
                )
                for n in range(QUESTIONS)
            ]
            self.dataset = str(make.dataset(DatasetKind.PREFERENCES, rows).id)
            self.token = auth.start_session(session, admin)
            session.commit()
        self.contexts: list[BrowserContext] = []
        self.page = self.open()

    def open(self, **options: Any) -> Page:
        context = self.browser.new_context(base_url=self.url, **{"viewport": {"width": 1280, "height": 900}} | options)
        context.add_cookies([{"name": "rankloop", "value": self.token, "url": self.url}])
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda it: None if it.url.startswith((self.url, "data:")) else self.faults.append(it.url))
        return page

    def begin(self, preset: str, kind: str) -> str:
        """A project from a starting set, its queue filled from the data set; returns its path."""
        page = self.page
        page.goto("/projects/new")
        page.get_by_role("link", name=preset).click()
        page.get_by_label("Name", exact=True).fill(f"{preset} {uuid.uuid4().hex[:6]}")
        page.get_by_label("People who judge each task").fill("1")
        page.get_by_role("button", name="Make the project").click()
        page.get_by_label("Data set").select_option(self.dataset)
        page.get_by_label("Ask for").select_option(kind)
        page.get_by_role("button", name="See how many it makes").click()
        page.get_by_role("button", name=re.compile(r"Make \d+ tasks")).click()
        expect(page.get_by_role("status")).to_contain_text("new tasks from 3 rows; 0 not made")
        return page.url.split("/tasks")[0].removeprefix(self.url)

    def start(self, path: str, page: Page | None = None) -> Page:
        page = page or self.page
        page.goto(f"{path}/annotate")
        return page

    def snapshot(self, path: str, kind: str) -> list[dict[str, Any]]:
        """The lines that the project gives as `kind`."""
        body = {"kind": kind, "project": path.removeprefix("/projects/")}
        made = self.page.request.post("/v1/snapshots", data=body)
        assert made.ok, made.text()
        lines = self.page.request.get(f"/v1/snapshots/{made.json()['id']}/export?format=jsonl").text()
        return [json.loads(line) for line in lines.splitlines()]


@pytest.fixture
def works(desk_url: str, desk_chromium: Browser, module_engine: Engine, factory: Callable[..., Any]) -> Iterator[Works]:
    found = Works(desk_url, desk_chromium, module_engine, factory)
    yield found
    for context in found.contexts:
        context.close()
    assert found.faults == []


def ready(page: Page, question: str) -> None:
    expect(page.locator("#desk")).to_have_attribute("data-ready", "yes")
    expect(page.locator("section.prompt")).to_contain_text(question)


def sent(page: Page, count: int) -> None:
    """The server has the answers: the status line comes back with each."""
    expect(page.locator("p.status")).to_contain_text(f"{count} done today")


def label_of(page: Page, text: str) -> str:
    """The letter of the response with this text."""
    return page.get_by_role("article").filter(has_text=text).get_attribute("data-label") or ""


def test_a_ranking_project_from_page_to_snapshot(works: Works) -> None:
    path = works.begin("Helpful, honest, harmless ranking", "ranking")
    page = works.start(path)
    orders = [("bad", "good"), ("good", "bad"), ("good", "bad")]
    for number, (first, second) in enumerate(orders):
        ready(page, f"Question {number}?")
        page.keyboard.press(label_of(page, f"{first} {number}").lower())
        expect(page.locator(".strip, .say").first).to_be_visible()
        page.keyboard.press("Enter")
        assert second  # the last one falls into place by itself
    sent(page, 3)
    rows = works.snapshot(path, "rankings")
    best = [row["responses"][row["groups"][0][0]] for row in rows]
    assert best == ["bad 0", "good 1", "good 2"]
    assert all(row["lineage"]["form_version"] == "1" for row in rows)
    page.goto(path)
    page.get_by_role("link", name="Make a snapshot").click()
    chosen = page.locator(f"option[value='project:{path.removeprefix('/projects/')}']")
    expect(chosen).to_have_attribute("selected", "")


def current(page: Page) -> str:
    return page.locator("fieldset.ask.current").get_attribute("data-question") or ""


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def answer(page: Page, *keys: str) -> None:
    """Press the keys until the page goes on: one that was sent takes no more, whatever the status line says."""
    task = page.locator("#task")
    before = task.get_attribute("data-assignment")
    press(page, *keys)
    expect(task).not_to_have_attribute("data-assignment", before or "")


def test_a_question_project_from_page_to_snapshot(works: Works) -> None:
    path = works.begin("WebGPT-like comparison questions", "questions")
    page = works.start(path)
    ready(page, "Question 0?")
    assert page.locator("input[type=radio]:checked").count() == 0
    assert current(page) == "clear_task"
    shown = [page.locator(f"[data-question={name}]") for name in ("unclear_how", "accurate", "clearer")]
    for hidden in shown:
        expect(hidden).to_be_hidden()
    press(page, "Enter")  # nothing is answered: the page says what is missing, and nothing is sent
    expect(page.locator(".say")).to_contain_text("Is it clear what the person wants?")
    press(page, "y", "1")
    expect(shown[1]).to_be_visible()
    assert current(page) == "accurate"
    good = label_of(page, "good 0")
    press(page, "1" if good == "A" else "3", "2", "5" if good == "B" else "1", "Enter")

    ready(page, "Question 1?")
    press(page, "n")
    assert current(page) == "unclear_how"
    page.keyboard.type("2 things: y or n")  # letters and digits are words here
    press(page, "Escape", "1", "2", "Backspace", "Backspace")
    assert current(page) == "usable"
    press(page, "4")  # neither: the comparison of accuracy goes again, with its answer
    expect(shown[1]).to_be_hidden()
    press(page, "3", "Enter")
    ready(page, "Question 2?")
    sent(page, 2)

    first, second = works.snapshot(path, "answers")
    assert [(each["question"], each["value"]) for each in first["answers"]] == [
        ("clear_task", True),
        ("usable", "both"),
        ("accurate", "a" if first["responses"][0] == "good 0" else "b"),
        ("clearer", "same"),
        ("overall", 5 if first["responses"][1] == "good 0" else 1),
    ]
    assert first["responses"] == (["good 0", "bad 0"] if good == "A" else ["bad 0", "good 0"])  # as it was shown
    assert [each.get("criterion") for each in first["answers"]] == [None, "helpful", "honest", "helpful", None]
    assert {each["question"]: each["value"] for each in second["answers"]} == {
        "clear_task": False,
        "unclear_how": "2 things: y or n",
        "usable": "neither",
        "overall": 3,
    }


def test_questions_without_scripts(works: Works) -> None:
    """Every question is on the page and says when it counts; answers to those not asked are dropped."""
    path = works.begin("WebGPT-like comparison questions", "questions")
    page = works.start(path, works.open(java_script_enabled=False))
    expect(page.get_by_text("Counts only if “Which answers are usable?” is answered with: Both.").first).to_be_visible()
    page.get_by_role("group", name="Is it clear").get_by_label("Yes").check()
    page.get_by_role("group", name="more accurate").get_by_label("About the same").check()
    page.get_by_role("group", name="better").get_by_label("4").check()
    page.get_by_role("button", name="Submit and go on").click()  # the browser asks for the required one
    page.get_by_role("group", name="usable").get_by_label("Neither").check()
    page.get_by_role("button", name="Submit and go on").click()
    expect(page.locator("section.prompt")).to_contain_text("Question 1?")
    page.get_by_role("group", name="Is it clear").get_by_label("Yes").check()
    page.get_by_role("group", name="usable").get_by_label("Both").check()
    page.get_by_role("group", name="better").get_by_label("4").check()
    page.get_by_role("button", name="Submit and go on").click()  # two follow-ups are missing: the server says so
    expect(page.get_by_role("alert")).to_contain_text(
        "Not answered yet: “Which answer is more accurate?”, “Which answer is clearer?”."
    )
    expect(page.get_by_role("group", name="better").get_by_label("4")).to_be_checked()
    (row,) = works.snapshot(path, "answers")
    assert [each["question"] for each in row["answers"]] == ["clear_task", "usable", "overall"]


def test_a_rule_project_from_page_to_snapshot(works: Works) -> None:
    path = works.begin("Sparrow-like rules", "rules")
    page = works.start(path)
    keys = ["b", "k", "u", "2"]
    for number, key in enumerate(keys):
        ready(page, "Question 0?")
        expect(page.locator("fieldset.ask")).to_have_count(1)  # a probe shows one rule
        expect(page.locator("details.why")).to_have_attribute("open", "")
        press(page, "Enter")
        expect(page.locator(".say")).to_contain_text("No verdict yet")
        press(page, key if key != "2" else "b")
        if key == "2":  # a better answer feeds the demonstrations
            press(page, "w")
            page.get_by_label("Better answer").fill("A kind answer.")
            answer(page, "Control+Enter")
        else:
            answer(page, "Enter")
        sent(page, number + 1)
    rows = works.snapshot(path, "verdicts")
    assert [(row["rule"], row["verdict"]) for row in rows] == [
        ("on_topic", "broken"),
        ("no_repetition", "kept"),
        ("plausible", "unsure"),
        ("no_human_life", "broken"),
    ]
    assert [row["criterion"] for row in rows] == ["helpful", "helpful", "honest", "honest"]
    assert {row["response"] for row in rows} == {"good 0"}
    (better,) = works.snapshot(path, "demonstrations")
    assert better["response"] == "A kind answer."


def test_an_answer_is_changed_by_keyboard(works: Works) -> None:
    path = works.begin("Sparrow-like rules", "rules")
    page = works.start(path)
    ready(page, "Question 0?")
    answer(page, "b", "Enter")
    sent(page, 1)
    press(page, "z")
    expect(page.locator("input[value=broken]")).to_be_checked()
    press(page, "k", "Enter")
    sent(page, 1)
    expect(page.locator("input:checked")).to_have_count(0)
    expect(page.locator("#desk")).to_have_attribute("data-unsent", "0")
    (row,) = works.snapshot(path, "verdicts")
    assert row["verdict"] == "kept"
