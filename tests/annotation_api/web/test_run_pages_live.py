"""The job page in a real Chromium: it follows the job without being loaded anew."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.config import Stage
from alignment.shared.events import SavedCheckpoint, StageProgress
from annotation_api.db.engine import session_factory
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Metric, Role
from annotation_api.http import auth

pytestmark = pytest.mark.browser
Sessions = sessionmaker[Session]


@pytest.fixture
def sessions(module_engine: Engine) -> Sessions:
    return session_factory(module_engine)


@pytest.fixture
def page(desk_url: str, desk_chromium: Browser, sessions: Sessions, factory: Any) -> Iterator[Page]:
    """An engineer's tab, without a fault in its scripts."""
    with sessions.begin() as session:
        token = auth.start_session(session, factory(session).person(Role.ENGINEER))
    context = desk_chromium.new_context(base_url=desk_url, viewport={"width": 1280, "height": 800})
    context.add_cookies([{"name": "rankloop", "value": token, "url": desk_url}])
    page, faults = context.new_page(), list[str]()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    yield page
    context.close()
    assert faults == []


@pytest.fixture
def job(sessions: Sessions, factory: Any) -> uuid.UUID:
    with sessions.begin() as session:
        key: uuid.UUID = factory(session).job(priority=1000).id
    return key


def claim(sessions: Sessions, job: uuid.UUID) -> int:
    with sessions.begin() as session:
        found = job_store.claim(session, "test:1", lease_seconds=60)
        assert found is not None
        assert found.id == job
        return found.epoch


def tell(sessions: Sessions, job: uuid.UUID, epoch: int, step: int, **metrics: float) -> None:
    with sessions.begin() as session:
        line = StageProgress("train", step, 120, 2.5, 90.0, metrics)
        job_store.append_events(session, job, epoch, [Event.progress(line)])


def chart(page: Page, name: str) -> Locator:
    """The drawn chart with this metric."""
    return page.locator(f'.chart.drawn:has([data-last="train: {name}"])')


def test_the_job_page_follows_the_job_to_its_end(page: Page, sessions: Sessions, job: uuid.UUID) -> None:
    page.goto(f"/jobs/{job}")
    page.evaluate("window.sameDocument = true")
    expect(page.locator("#live .state")).to_have_text("queued")
    epoch = claim(sessions, job)
    with sessions.begin() as session:
        job_store.set_starting_reason(session, job, epoch, "waiting_gpu", "1 of 1 GPUs is taken")
    expect(page.locator("#live")).to_contain_text("waiting for a GPU")
    waited = page.locator("#live [data-since]")
    before = waited.inner_text()
    expect(waited).not_to_have_text(before)  # it counts on by itself
    with sessions.begin() as session:
        job_store.mark_running(session, job, epoch)
    expect(page.locator("#live .state")).to_have_text("running")

    tell(sessions, job, epoch, 30, loss=0.25)
    expect(page.locator("#step")).to_have_text("30")
    expect(page.locator("#left")).to_have_text("1 min 30 s")
    expect(page.locator("#metrics")).to_contain_text("loss 0.25")
    assert page.locator("#live progress").evaluate("bar => bar.value / bar.max") == 0.25
    expect(chart(page, "loss").locator("b")).to_have_text("0.25")  # a figure that was not there before
    for step in range(31, 36):
        tell(sessions, job, epoch, step, loss=0.5)
    expect(chart(page, "loss")).to_have_attribute("data-step", "35")
    expect(chart(page, "loss")).to_have_attribute("data-points", "6")
    expect(chart(page, "loss").locator("b")).to_have_text("0.5")
    expect(page.locator('[data-part="five"]')).to_contain_text("loss")

    with sessions.begin() as session:
        job_store.record_checkpoint(session, job, epoch, SavedCheckpoint("1/checkpoint-35", 35, "ab" * 32, 10**6, 0.1))
    expect(page.locator('[data-part="checkpoints"]')).to_contain_text("1.0 MB")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live")).to_contain_text("pausing")
    page.evaluate("window.sameDocument = true")  # the form itself led to a new one
    with sessions.begin() as session:
        job_store.mark_paused(session, job, epoch)
    expect(page.locator("#live .state")).to_have_text("paused")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#live .state")).to_have_text("queued")

    page.evaluate("window.sameDocument = true")
    epoch = claim(sessions, job)
    with sessions.begin() as session:
        job_store.mark_running(session, job, epoch)
    tell(sessions, job, epoch, 36, loss=0.125)
    expect(chart(page, "loss")).to_have_attribute("data-step", "36")
    expect(chart(page, "loss")).to_have_attribute("data-points", "7")
    with sessions.begin() as session:
        job_store.fail(session, job, epoch, Failure(ErrorKind.DIVERGED, "The loss is NaN.", "Lower it."), Again.NEVER)
    expect(page.locator(".alert")).to_contain_text("diverged: The loss is NaN.")
    expect(page.locator('[data-part="attempts"] tbody tr')).to_have_count(2)
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert page.evaluate("window.sameDocument") is True


def test_what_a_reader_opened_stays_open_and_the_focus_stays(page: Page, sessions: Sessions, job: uuid.UUID) -> None:
    epoch = claim(sessions, job)
    with sessions.begin() as session:
        job_store.mark_running(session, job, epoch)
        failure = Failure(ErrorKind.CRASH, "Its process died.", traceback="Trace", log="words")
        job_store.fail(session, job, epoch, failure, Again.CRASH)
    page.goto(f"/jobs/{job}")
    for part in ("error", "log"):
        page.locator(f'[data-part="{part}"] summary').click()
    page.locator("#cancel").focus()
    with sessions.begin() as session:
        job_requests.request_pause(session, job)
    expect(page.locator("#live .state")).to_have_text("paused")
    expect(page.locator("#cancel")).to_be_focused()
    for part in ("error", "log"):
        assert page.locator(f'[data-part="{part}"] details').get_attribute("open") is not None
    with sessions.begin() as session:
        job_requests.request_cancel(session, job)


def test_the_list_of_jobs_stays_true(page: Page, sessions: Sessions, factory: Any) -> None:
    page.goto("/jobs?stage=reward")
    page.evaluate("window.sameDocument = true")
    with sessions.begin() as session:
        key = factory(session).job(Stage.REWARD).id
    expect(page.locator(f'a[href="/jobs/{key}"]')).to_be_visible()
    assert page.evaluate("window.sameDocument") is True


def test_the_page_works_without_scripts(desk_url: str, desk_chromium: Browser, page: Page, job: uuid.UUID) -> None:
    cookies = page.context.cookies()
    context = desk_chromium.new_context(base_url=desk_url, java_script_enabled=False)
    context.add_cookies(cookies)  # type: ignore[arg-type]
    plain = context.new_page()
    plain.goto(f"/jobs/{job}")
    plain.get_by_role("button", name="Stop this job").click()
    expect(plain.locator("#live .state")).to_have_text("cancelled")
    context.close()


RECORDS = """
window.drawn = [];
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  const left = this.getTransform().transformPoint(new DOMPoint(x, y)).x;
  const width = this.measureText(text).width;
  window.drawn.push([String(text), left - (this.textAlign === "right" ? width : 0), this.textAlign]);
  return write.apply(this, arguments);
};
"""


def test_a_chart_keeps_the_minus_of_its_numbers_and_counts_whole_steps(
    page: Page, sessions: Sessions, job: uuid.UUID
) -> None:
    """Every number beside the axis begins inside the picture; between step 0 and step 1 there is no step."""
    with sessions.begin() as session:
        for step, value in ((0, 0.0), (1, -1.5123456e-05), (2, -1.2e-05)):
            session.add(Metric(job_id=job, epoch=1, phase="ppo", step=step, name="kl", value=value))
    page.add_init_script(RECORDS)
    page.goto(f"/jobs/{job}")
    expect(page.locator(".chart.drawn")).to_have_count(1)
    drawn = page.evaluate("window.drawn")
    numbers = [(text, left) for text, left, side in drawn if side == "right"]
    assert any(text.startswith("-") for text, _ in numbers)
    assert [text for text, left in numbers if left < 0] == []
    steps = [text for text, _, side in drawn if side == "center"]
    assert steps
    assert [text for text in steps if not text.isdigit()] == []
