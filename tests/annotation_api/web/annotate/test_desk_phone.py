"""The desk on a phone: what is asked stays in view, nothing wraps, nothing is hidden that keys would do."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from annotation_api.db.forms import RankingForm, Rule, RulesForm
from annotation_api.db.tables import FeedbackKind
from tests.annotation_api.web.annotate.test_desk import press, ranks, sent

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LONG = "A sentence that says little and goes on. " * 120
IN_VIEW = "(it) => { const box = it.getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight; }"


def in_view(page: Page, selector: str) -> bool:
    return bool(page.locator(selector).first.evaluate(IN_VIEW))


def test_it_says_best_first_and_has_a_button_for_a_tie(desk: Any) -> None:
    desk.begin(["one", "two", "three"])
    page = desk.open(desk.person_id, **PHONE)
    expect(page.locator(".say")).to_have_text("Best first: tap A – C.")
    assert in_view(page, ".say")
    page.locator('.rest [data-drag="C"]').tap()
    page.get_by_role("button", name="Tie").tap()
    expect(page.locator(".say")).to_have_text("Now the one that ties with C.")
    page.locator('.rest [data-drag="A"]').tap()
    assert ranks(page) == {"A": 1, "C": 1, "B": 2}
    page.get_by_role("button", name="Submit and go on").tap()
    sent(page, 1)


def test_nine_ranks_stand_in_one_line(desk: Any) -> None:
    desk.begin([f"answer {n}" for n in range(9)])
    for options in (PHONE, {"viewport": {"width": 360, "height": 740}}, {}):
        page = desk.open(desk.person_id, **options)
        tops = page.locator('article[data-label="A"] .ranks label').evaluate_all(
            "all => all.map((it) => Math.round(it.getBoundingClientRect().top))"
        )
        assert len(tops) == 9
        assert len(set(tops)) == 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_prompt_stays_in_view_once_it_has_scrolled_away(desk: Any) -> None:
    desk.begin([LONG + "one", LONG + "two"])
    page = desk.open(desk.person_id, **PHONE)
    expect(page.locator(".peek")).to_be_hidden()
    page.evaluate("scrollTo(0, 1500)")
    expect(page.locator(".peek")).to_be_visible()
    expect(page.locator(".peek")).to_contain_text("Question 1?")
    page.locator(".peek").tap()
    expect(page.locator(".peek")).to_be_hidden()
    assert in_view(page, ".prompt")


@pytest.mark.parametrize("rules", [1, 3])
def test_the_rule_comes_before_the_answer(desk: Any, rules: int) -> None:
    form = RulesForm(rules=tuple(Rule(id=f"rule_{n}", text=f"Rule number {n}.") for n in range(rules)))
    desk.begin(form=form)
    desk.add([LONG], kind=FeedbackKind.RULES)
    page = desk.open(desk.person_id, **PHONE)
    assert in_view(page, ".ask")
    if rules == 1:
        page.evaluate("scrollTo(0, 1500)")
        expect(page.locator(".peek")).to_be_visible()
        assert in_view(page, ".ask .choices")
    page.locator(".ask .choices label").first.tap()
    press(page, *"b" * (rules if rules > 1 else 0))  # a tap does not go on by itself
    page.get_by_role("button", name="Submit and go on").tap()
    sent(page, 1)


def test_guidelines_are_open_on_the_first_task_alone(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four"], guidelines="Be fair.")
    expect(page.get_by_text("Be fair.")).to_be_visible()
    press(page, "1", "Enter")
    sent(page, 1)
    page.reload()
    expect(page.get_by_text("Be fair.")).to_be_hidden()


def test_a_tall_answer_leaves_no_white_under_a_short_one(desk: Any) -> None:
    page = desk.begin([LONG * 3, "short", "brief", "little"], form=RankingForm())
    gaps = page.locator("article.answer").evaluate_all(
        """all => {
          const boxes = all.map((it) => it.getBoundingClientRect());
          const columns = Map.groupBy(boxes, (box) => Math.round(box.left));
          return [...columns.values()].flatMap((list) => list.slice(1).map((box, n) => box.top - list[n].bottom));
        }"""
    )
    texts = page.locator("article.answer").evaluate_all(
        "all => all.map((it) => it.querySelector('.ranks').getBoundingClientRect().top"
        " - it.querySelector('.text').getBoundingClientRect().bottom)"
    )
    assert max([*gaps, *texts]) < 60
