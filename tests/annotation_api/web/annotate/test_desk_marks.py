"""What a ranking asks besides the order, by keys: ratings, flags, broken rules; ranks that complete themselves."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from annotation_api.db.forms import Question, QuestionsForm, RankingForm, Rule
from annotation_api.db.tables import FeedbackKind
from tests.annotation_api.web.annotate.test_desk import drag, press, ranks, sent, text_of
from tests.annotation_api.web.conftest import ready

pytestmark = pytest.mark.browser

RULES = tuple(Rule(id=name, text=f"No {name}.") for name in ("threats", "lies"))


def test_dragging_the_first_of_two_completes_the_order(desk: Any) -> None:
    page = desk.begin(["one", "two"])
    drag(page, '.rest [data-drag="B"]', '.gap[data-gap="0"]')
    assert ranks(page) == {"B": 1, "A": 2}
    press(page, "Backspace")
    assert ranks(page) == {}


def test_the_last_rank_that_is_free_is_given_by_itself(desk: Any) -> None:
    page = desk.begin(["one", "two", "three"])
    page.get_by_role("radio", name="Rank 3 for answer B").check(force=True)
    assert ranks(page) == {"B": 3}
    page.get_by_role("radio", name="Rank 1 for answer A").check(force=True)
    assert ranks(page) == {"A": 1, "C": 2, "B": 3}
    page.get_by_role("radio", name="Rank 1 for answer C").check(force=True)  # a tie stays a tie
    assert ranks(page) == {"A": 1, "C": 1, "B": 3}


def test_no_rank_looks_like_a_key(desk: Any) -> None:
    """The key 1 says that answer A is the next best, whatever stands on a rank."""
    page = desk.begin(["one", "two", "three"])
    card = page.locator('article[data-label="B"]')
    expect(card.locator(".ranks span")).to_have_text(["1st", "2nd", "3rd"])
    expect(card.locator("header kbd")).to_have_text(["2", "B"])


@pytest.mark.parametrize("k", [2, 9])
def test_required_ratings_take_a_key_each(desk: Any, k: int) -> None:
    form = RankingForm(ratings="required", strength="off")
    page = desk.begin([f"answer {n}" for n in range(k)], form=form)
    order = [str(n) for n in range(1, k)]
    press(page, *order)
    expect(page.locator(".say")).to_have_text("Rate A: 1 is the worst, 7 the best.")
    press(page, *(str(1 + n % 7) for n in range(k)), "Enter")
    sent(page, 1)
    payload = desk.stored()[0].payload
    assert [payload["ratings"][group[0]] for group in payload["groups"]] == [1 + n % 7 for n in range(k)]


def test_a_rating_and_then_the_order_are_taken_back(desk: Any) -> None:
    page = desk.begin(["one", "two"], form=RankingForm(ratings="required", strength="off"))
    press(page, "1", "7", "Backspace", "Backspace")
    assert ranks(page) == {}
    press(page, "2", "4", "5", "Enter")
    sent(page, 1)
    payload = desk.stored()[0].payload
    first, second = (group[0] for group in payload["groups"])
    assert payload["ratings"] == {second: 4, first: 5}  # A is the second


def test_flags_rules_and_optional_ratings_by_keys(desk: Any) -> None:
    page = desk.begin(["one", "two", "three"], form=RankingForm(ratings="optional", rules=RULES))
    press(page, "c", "a")
    press(page, "m")
    expect(page.locator(".say")).to_have_text("Which answer? Press its letter.")
    press(page, "b", "2", "1", "1", "m")
    press(page, "x", "a", "2", "Escape")
    press(page, "r", "3", "b", "5", "6", "Enter")
    sent(page, 1)
    payload = desk.stored()[0].payload
    third, first, second = (group[0] for group in payload["groups"])
    assert payload["flags"] == {second: ["unsafe"]}
    assert payload["broken"] == {first: ["lies"]}
    assert payload["ratings"] == {first: 3, second: 5, third: 6}


def test_a_questions_task_is_flagged_by_keys(desk: Any) -> None:
    form = QuestionsForm(questions=(Question(id="clear", text="Is it clear?", kind="yes_no"),))
    page = desk.begin(form=form)
    desk.add(["only one"], kind=FeedbackKind.QUESTIONS)
    page.reload()
    ready(page)
    press(page, "m", "3", "m", "y", "Enter")
    sent(page, 1)
    payload = desk.stored()[0].payload
    assert (payload["answers"], list(payload["flags"].values())) == ({"clear": True}, [["off_topic"]])


def side(page: Page, place: int) -> str:
    return page.locator("#compare .side").nth(place).inner_html()


def test_compare_shows_what_the_cards_show(desk: Any) -> None:
    page = desk.begin(["**The fox** is red and $x^2$.", "**The fox** is white and $x^2$."])
    at = {text_of(page, label): label for label in "AB"}
    press(page, "v")
    page.locator("select[data-side=old]").select_option(at["**The fox** is red and $x^2$."])
    page.locator("select[data-side=new]").select_option(at["**The fox** is white and $x^2$."])
    expect(page.locator("#compare .side strong")).to_have_text(["The fox", "The fox"])
    expect(page.locator("#compare .side math")).to_have_count(2)
    expect(page.locator("#compare del")).to_have_text(["red"])
    page.locator("#compare").get_by_label("As the model wrote it").check()
    expect(page.locator("#compare .side").first).to_contain_text("**The fox** is")
    expect(page.locator("#compare ins")).to_have_text(["white"])


def test_one_answer_has_nothing_to_be_compared_with(desk: Any) -> None:
    form = QuestionsForm(questions=(Question(id="clear", text="Is it clear?", kind="yes_no"),))
    page = desk.begin(form=form)
    desk.add(["only one"], kind=FeedbackKind.QUESTIONS)
    page.reload()
    expect(page.get_by_text("Is it clear?")).to_be_visible()
    expect(page.get_by_role("button", name="Compare")).to_be_hidden()
