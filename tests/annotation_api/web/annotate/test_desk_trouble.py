"""When things go wrong at the desk: the work is kept, nothing is stored twice, and people are told what happened."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from annotation_api.db.forms import Question, QuestionsForm, Rule, RulesForm
from annotation_api.db.tables import (
    Assignment,
    AssignmentState,
    Draft,
    FeedbackKind,
    Person,
    Project,
    ResponseRow,
    Task,
    TaskResponse,
)
from annotation_api.web.annotate import page as annotate_page

pytestmark = pytest.mark.browser

FIRST_LOAD = 60 * 1024  # bytes


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def ranks(page: Page) -> dict[str, int]:
    pairs = page.evaluate("[...new FormData(document.getElementById('work'))].filter(([n]) => n.startsWith('rank-'))")
    return {name.removeprefix("rank-"): int(value) for name, value in pairs}


def unsent(page: Page, number: int = 0) -> None:
    expect(page.locator("#desk")).to_have_attribute("data-unsent", str(number))


def shows(page: Page, question: str) -> None:
    expect(page.locator(".prompt .rich")).to_contain_text(question)


def prefetched(page: Page) -> None:
    """The next task is there: the page asks for nothing any more."""
    expect(page.locator("#desk")).to_have_attribute("data-ready", "yes")
    page.wait_for_load_state("networkidle")


# ---------------------------------------------------------------- drafts


def test_a_draft_comes_back_and_is_never_an_answer(desk: Any) -> None:
    page = desk.begin(["one", "two", "three"])
    with page.expect_response("**/draft") as saved:
        press(page, "c", "n")
        page.keyboard.type("half a thought")
    assert saved.value.status == 204
    expect(page.locator("#saved")).to_have_text("Draft saved")
    page.reload()
    expect(page.locator("#saved")).to_have_text("Your draft is back.")
    assert ranks(page) == {"C": 1}
    expect(page.get_by_label("Note")).to_have_value("half a thought")
    elsewhere = desk.open(desk.person_id)  # another browser: the server's copy
    assert ranks(elsewhere) == {"C": 1}
    expect(elsewhere.get_by_label("Note")).to_have_value("half a thought")
    assert desk.stored() == []
    press(page, "a", "Enter")
    unsent(page)
    assert len(desk.stored()) == 1
    with Session(desk.engine) as session:
        mine = select(Draft).join(Assignment).where(Assignment.person_id == desk.person_id)
        assert session.scalars(mine).all() == []


def test_a_draft_of_the_last_keystroke_survives_a_crash(desk: Any) -> None:
    page = desk.begin(["one", "two", "three"])
    prefetched(page)
    page.context.set_offline(True)
    press(page, "b")
    page.goto("about:blank")
    page.context.set_offline(False)
    page.goto(f"/projects/{desk.project_id}/annotate")
    expect(page.locator("#saved")).to_have_text("Your draft is back.")
    assert ranks(page) == {"B": 1}


# ---------------------------------------------------------------- twice, late, elsewhere


def test_a_double_enter_submits_once(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four"])
    prefetched(page)
    press(page, "1", "Enter", "Enter", "Enter")
    expect(page.locator(".say")).to_have_text("Not ranked yet: A, B.")
    unsent(page)
    assert len(desk.stored()) == 1


def test_a_slow_server_gets_one_answer_for_two_clicks(desk: Any) -> None:
    page = desk.begin(["one", "two"])
    page.route("**/card?**", lambda route: None)  # the next task never comes
    press(page, "1")
    page.evaluate("const button = document.querySelector('button.main'); for (let n = 0; n < 3; n += 1) button.click()")
    unsent(page)
    assert len(desk.stored()) == 1


def test_an_answer_that_got_lost_on_the_way_back_is_stored_once(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four"])
    prefetched(page)
    lost: list[int] = []

    def lose(route: Route) -> None:
        answer = route.fetch()  # the server has it, the page never hears of it
        lost.append(answer.status)
        route.abort() if len(lost) == 1 else route.fulfill(response=answer)

    page.route("**/annotate?background=true", lose)
    press(page, "1", "Enter")
    shows(page, "Question 2?")
    expect(page.locator("#unsent")).to_contain_text("1 waiting to be sent")
    unsent(page)
    assert lost == [200, 200]
    expect(page.locator("#unsent")).to_have_count(0)
    assert len(desk.stored()) == 1


def test_offline_and_back(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four"], ["five", "six"])
    prefetched(page)
    page.context.set_offline(True)
    press(page, "1", "Enter")
    shows(page, "Question 2?")
    expect(page.locator("#unsent")).to_contain_text("1 waiting to be sent")
    press(page, "2", "Enter")
    expect(page.locator("#task")).to_contain_text("No connection.")
    unsent(page, 2)
    assert desk.stored() == []
    page.context.set_offline(False)
    shows(page, "Question 3?")
    unsent(page)
    assert len(desk.stored()) == 2


def test_answers_that_wait_survive_closing_the_tab(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four"])
    prefetched(page)
    page.route("**/annotate?background=true", lambda route: route.fulfill(status=503))
    press(page, "1", "Enter")
    shows(page, "Question 2?")
    unsent(page, 1)
    again = desk.page(page.context)
    page.close()
    shows(again, "Question 2?")
    unsent(again)
    assert len(desk.stored()) == 1


def take_over(desk: Any) -> None:
    """The person's leases ran out, and somebody else answered the tasks."""
    with Session(desk.engine) as session:
        mine = Assignment.person_id == desk.person_id
        held = select(Task).where(Task.id.in_(select(Assignment.task_id).where(mine))).order_by(Task.id)
        tasks = session.scalars(held.with_for_update(key_share=True)).all()  # before the leases, as a claim locks them
        session.execute(update(Assignment).where(mine).values(lease_until=func.now(), state=AssignmentState.EXPIRED))
        other = session.get_one(Person, desk.person())
        for row in tasks:
            desk.factory(session).submission(row, [[0], [1]], other)
            row.judged = 1
        session.commit()


def test_an_expired_lease_keeps_the_work(desk: Any) -> None:
    page = desk.begin(["one", "two"])
    prefetched(page)
    press(page, "1", "n")
    page.keyboard.type("an hour of thought")
    take_over(desk)
    press(page, "Control+Enter")
    told = page.locator("#notices .alert")
    expect(told).to_contain_text("somebody else has answered it")
    unsent(page)
    page.reload()  # the words are still there
    told.get_by_text("What it said").click()
    expect(told).to_contain_text("note: an hour of thought")
    told.get_by_role("button", name="Dismiss").click()
    expect(told).to_have_count(0)
    assert len(desk.stored()) == 1  # the other's


def test_a_heartbeat_tells_that_somebody_else_has_the_task(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four"], lease_seconds=3)
    prefetched(page)  # or the second task is not taken over with the first
    refused: set[str] = set()
    page.on("response", lambda answer: refused.add(answer.url) if answer.status == 409 else None)
    with page.expect_response("**:renew") as renewed:
        press(page, "1")
    assert renewed.value.ok
    take_over(desk)
    told = page.locator("#notices .taken")
    expect(told).to_contain_text("You were away and somebody else has this task now.")
    assert ranks(page) == {"A": 1, "B": 2}  # nothing was taken away
    while len(refused) < 2:  # the second task is gone, too, and is not shown
        page.wait_for_timeout(20)
    press(page, "Enter")  # no answer that would only be refused: the button waits for the next Enter
    expect(told.get_by_role("button", name="Next task")).to_be_focused()
    expect(page.locator("#notices .alert")).to_have_count(1)
    unsent(page)
    press(page, "Enter")
    expect(page.get_by_role("heading", name="All done")).to_be_visible()
    expect(page.locator("#notices .alert")).to_have_count(0)
    assert len(desk.stored()) == 2  # the other's


def test_an_idle_page_lets_its_task_go(desk: Any) -> None:
    page = desk.open_with_clock(["one", "two"], lease_seconds=30)
    beats: list[str] = []
    page.on("request", lambda request: beats.append(request.url) if request.url.endswith(":renew") else None)
    with page.expect_request("**:renew"):
        page.clock.run_for(60_000)
    page.clock.fast_forward(6 * 60_000)
    page.wait_for_timeout(200)
    idle = len(beats)
    page.clock.fast_forward(6 * 60_000)
    page.wait_for_timeout(200)
    assert len(beats) == idle
    with page.expect_request("**:renew"):  # back at the desk
        page.mouse.move(5, 5)
        page.mouse.move(50, 50)


def test_a_stale_tab_says_so_and_changes_nothing(desk: Any) -> None:
    page = desk.begin(["one", "two"])
    stale = desk.page(page.context)
    press(page, "1", "Enter")
    unsent(page)
    press(stale, "2", "Enter")
    told = stale.locator("#notices .alert")
    expect(told).to_contain_text("You answered this task already.")
    assert len(desk.stored()) == 1
    told.get_by_role("button", name="Open it again").click()
    assert ranks(stale) == {"B": 1, "A": 2}  # the work is kept
    press(stale, "Enter")
    told.get_by_role("link", name="Change my last answer").click()
    assert ranks(stale) == {"A": 1, "B": 2}  # what was stored


def test_signed_out_in_between_keeps_the_answer(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four"])
    prefetched(page)
    cookies = page.context.cookies()
    page.context.clear_cookies()
    press(page, "1", "Enter")
    expect(page.locator("#unsent")).to_contain_text("You are signed out.")
    expect(page.locator("#unsent").get_by_role("link", name="Sign in")).to_be_visible()
    assert desk.stored() == []
    page.context.add_cookies(cookies)
    unsent(page)
    assert len(desk.stored()) == 1


def test_the_days_limit_is_told_and_what_is_in_hand_passes(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four"], daily_limit=1)
    press(page, "1", "Enter")
    expect(page.locator("#task")).to_contain_text("limit of 1 tasks a day")
    unsent(page)
    assert len(desk.stored()) == 1
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("limit of 1 tasks a day")


def test_work_that_appears_while_the_last_task_is_answered_is_found(desk: Any) -> None:
    page = desk.begin(["one", "two"])
    prefetched(page)
    desk.add(["three", "four"])
    press(page, "1", "Enter")
    shows(page, "Question 2?")


def hold(desk: Any, seconds: float) -> None:
    """Somebody else takes what is left of the project, and goes away."""
    with Session(desk.engine) as session:
        other = session.get_one(Person, desk.person())
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        for task in session.scalars(select(Task).where(Task.project_id == desk.project_id, Task.judged == 0)).all():
            desk.factory(session).assignment(task, other, state=AssignmentState.LEASED, lease_until=until)
        session.commit()


def give_back(desk: Any) -> None:
    """Only now: a page that is slow to ask must still see that they hold it."""
    with Session(desk.engine) as session:
        session.execute(update(Assignment).where(Assignment.state == "leased").values(lease_until=func.now()))
        session.commit()


@pytest.fixture
def asks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page asks again for what others hold each second, not each quarter of a minute."""
    monkeypatch.setattr(annotate_page, "LATEST", 1)


@pytest.mark.usefixtures("asks_often")
def test_what_others_hold_is_told_and_comes_when_it_is_given_back(desk: Any) -> None:
    page = desk.begin()
    desk.add(["one", "two"])
    hold(desk, 3600)
    page.reload()
    expect(page.get_by_role("heading", name="Nothing for you just now")).to_be_visible()
    expect(page.locator("#task")).to_contain_text("Tasks in the hands of others: 1.")
    give_back(desk)
    page.mouse.move(5, 5)
    shows(page, "Question 1?")


@pytest.mark.usefixtures("asks_often")
def test_after_the_last_answer_what_others_hold_is_told_and_comes(desk: Any) -> None:
    page = desk.begin(["one", "two"])
    prefetched(page)
    desk.add(["three", "four"])
    hold_others = desk.person()
    with Session(desk.engine) as session:
        task = session.scalars(select(Task).where(Task.project_id == desk.project_id).order_by(Task.priority)).first()
        until = datetime.now(UTC) + timedelta(hours=1)
        other = session.get_one(Person, hold_others)
        desk.factory(session).assignment(task, other, state=AssignmentState.LEASED, lease_until=until)
        session.commit()
    press(page, "1", "Enter")
    expect(page.locator("#task")).to_contain_text("Tasks in the hands of others: 1.")
    give_back(desk)
    page.mouse.move(5, 5)
    shows(page, "Question 2?")
    press(page, "1", "Enter")
    expect(page.get_by_role("heading", name="All done")).to_be_visible()
    unsent(page)


# ---------------------------------------------------------------- model text

HOSTILE = """<script>alert(1)</script><img src=https://evil.example/x.png onerror=alert(2)>

![x](https://evil.example/y.png) [click](javascript:alert(3)) <svg onload=alert(4)></svg>
<iframe src=https://evil.example></iframe> <a href="javascript:alert(5)">a</a> <style>*{display:none}</style>

$\\href{javascript:alert(6)}{x}$ $$\\includegraphics{https://evil.example/z.png}$$

=HYPERLINK("https://evil.example","x") {{ 7 * 7 }} </textarea></div></form>"""


def test_hostile_model_text_does_nothing(desk: Any) -> None:
    page = desk.begin([HOSTILE, "fine"], [HOSTILE, "fine"], guidelines=HOSTILE)
    page.on("dialog", lambda dialog: desk.faults.append(dialog.message))
    for question in ("Question 1?", "Question 2?"):
        shows(page, question)
        page.get_by_text("Guidelines", exact=True).click()
        press(page, "1", "v")
        expect(page.locator("#compare")).to_be_visible()
        press(page, "Escape", "w")
        for label in ("A", "B"):
            page.get_by_label("Begin with").select_option(label)
        press(page, "Control+Enter")
        expect(page.locator(".say")).to_contain_text("The better answer is the same")
        inert = page.evaluate(
            """() => [...document.querySelectorAll('#desk *')].filter((one) =>
              ['SCRIPT', 'IFRAME', 'STYLE', 'OBJECT', 'IMG'].includes(one.tagName)
              || [...one.attributes].some((a) => a.name.startsWith('on') || /^javascript:/i.test(a.value))
            ).map((one) => one.outerHTML)"""
        )
        assert inert == []
        assert HOSTILE in [page.locator(f'article[data-label="{label}"] .source').text_content() for label in "AB"]
        page.get_by_label("Better answer").fill(HOSTILE + "!")
        press(page, "Control+Enter")
    unsent(page)
    assert [row.payload["demonstration"]["text"] for row in desk.stored()] == [HOSTILE + "!"] * 2


def test_model_names_never_reach_the_page(desk: Any) -> None:
    desk.begin(["one", "two"])
    with Session(desk.engine) as session:
        make, project = desk.factory(session), session.get_one(Project, desk.project_id)
        model = make.model(name="secret-model-7b")
        asked = make.prompt(project, "Whose?")
        for number in range(2):
            task = make.task(asked, (), priority=2000)
            for position in range(2):
                text = f"answer {number} {position}"
                row = ResponseRow(prompt_id=asked.id, text=text, text_hash="0" * 64, model_id=model.id)
                session.add(row)
                session.flush()
                session.add(TaskResponse(task_id=task.id, position=position, response_id=row.id))
        session.commit()
        name, key = model.name, str(model.id)
    page = desk.open(desk.person())
    first = page.locator("#task").get_attribute("data-assignment")
    ahead = page.context.request.post(f"/projects/{desk.project_id}/card", params={"besides": str(first)})
    seen = [page.content(), ahead.text()]
    assert all("answer 0 0" in text or "answer 1 0" in text for text in seen)
    assert not [text for text in seen if name in text or key in text]


# ---------------------------------------------------------------- the other kinds


def test_questions_and_rules_share_the_desk(desk: Any) -> None:
    questions = QuestionsForm(questions=(Question(id="clear", text="Is it clear?", kind="yes_no"),))
    rules = RulesForm(rules=(Rule(id="no_threats", text="It threatens nobody."),))
    with Session(desk.engine) as session:
        desk.project_id = desk.factory(session).project(forms=[questions, rules]).id
        session.commit()
    desk.add(["only one"], kind=FeedbackKind.QUESTIONS)
    desk.add(["and this"], kind=FeedbackKind.RULES)
    desk.person_id = desk.person()
    page = desk.open(desk.person_id)
    press(page, "Enter")
    expect(page.locator(".say")).to_contain_text("Not answered yet")
    press(page, "y", "Enter")
    shows(page, "Question 2?")
    press(page, "k", "Enter")
    expect(page.get_by_role("heading", name="All done")).to_be_visible()
    unsent(page)
    assert [row.payload for row in desk.stored()] == [
        {"answers": {"clear": True}},
        {"verdicts": {"no_threats": "kept"}},
    ]
    press(page, "z")
    press(page, "b", "Enter")
    unsent(page)
    expect(page.get_by_role("heading", name="All done")).to_be_visible()
    assert desk.stored()[-1].payload == {"verdicts": {"no_threats": "broken"}}


# ---------------------------------------------------------------- weight and speed


def test_the_first_load_is_light_and_all_ours(desk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What goes over the wire, headers included, until the page is ready; a request elsewhere fails every test here."""
    desk.begin(["one", "two", "three", "four"])
    page = desk.open(desk.person())
    sizes = page.evaluate(
        """Object.fromEntries(['navigation', 'resource'].flatMap((type) => performance.getEntriesByType(type))
          .filter((one) => !one.name.includes('/card') && !one.name.endsWith('icon.svg'))
          .map((one) => [one.name.split('/').at(-1), one.transferSize]))"""
    )
    total = sum(sizes.values())
    with capsys.disabled():
        print(f"\nfirst load of the ranking page: {total / 1024:.1f} KB ({dict(sorted(sizes.items()))})")
    assert {"annotate", "style.css", "annotate.css", "annotate.js", "ranking.js"} <= set(sizes)
    assert all(sizes.values())
    assert total <= FIRST_LOAD


LONG = (
    "A paragraph of an answer with some **bold** words and `code` in it. " * 12 + "\n\n```python\nprint('x')\n```\n\n"
)


def test_the_next_task_is_painted_at_once(desk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = 25
    page = desk.begin(*([LONG * 2 + f"answer {n} of {number}" for n in range(4)] for number in range(tasks)))
    for number in range(1, tasks):
        prefetched_next(page, number)
        press(page, "2", "1", "4", "Enter")
        shows(page, f"Question {number + 1}?")
    until(page, f"performance.getEntriesByName('rankloop:next').length === {tasks - 1}")
    times = sorted(page.evaluate("performance.getEntriesByName('rankloop:next').map((entry) => entry.duration)"))
    p50, p95 = times[len(times) // 2], times[int(len(times) * 0.95)]
    with capsys.disabled():
        print(f"\nnext task painted: p50 {p50:.0f} ms, p95 {p95:.0f} ms, worst {times[-1]:.0f} ms, n {len(times)}")
    unsent(page)
    assert len(desk.stored()) == tasks - 1


def test_the_wait_for_a_task_that_comes_late_is_measured_too(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four"], ["five", "six"])
    prefetched(page)
    held: list[Route] = []
    page.route("**/card?**", lambda route: held.append(route))
    press(page, "1", "2", "Enter")
    shows(page, "Question 2?")
    press(page, "1", "2", "Enter")
    expect(page.get_by_text("The next task is on its way.")).to_be_visible()
    unsent(page, 0)
    held[-1].continue_()
    shows(page, "Question 3?")
    until(page, "performance.getEntriesByName('rankloop:next').length === 2")


def prefetched_next(page: Page, number: int) -> None:
    """The task after the `number`-th has been fetched ahead."""
    cards = "performance.getEntriesByType('resource').filter((one) => one.name.includes('/card') && one.responseEnd)"
    until(page, f"{cards}.length >= {number}")


def until(page: Page, condition: str) -> None:
    """Wait from outside: the page's own policy forbids what the browser library would do inside it."""
    deadline = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)
