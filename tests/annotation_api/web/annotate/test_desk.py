"""Ranking in a real Chromium: by keys, counted; by mouse, finger, and without scripts."""

from __future__ import annotations

import random
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_api.db.forms import RankingForm, Rule
from annotation_api.db.tables import Assignment, AssignmentState, GoldItem, GoldUse, QualityRules, Task

pytestmark = pytest.mark.browser

LETTERS = "ABCDEFGHI"


def text_of(page: Page, label: str) -> str:
    return page.locator(f'article[data-label="{label}"] .source').text_content() or ""


def press(page: Page, *keys: str) -> int:
    """Press keys one after another, without any wait; how many."""
    for key in keys:
        page.keyboard.press(key)
    return len(keys)


def ranks(page: Page) -> dict[str, int]:
    """What the radios say, by letter."""
    pairs = page.evaluate("[...new FormData(document.getElementById('work'))].filter(([n]) => n.startsWith('rank-'))")
    return {name.removeprefix("rank-"): int(value) for name, value in pairs}


def sent(page: Page, times: int = 0) -> None:
    """Everything has reached the server."""
    expect(page.locator("#desk")).to_have_attribute("data-unsent", "0")
    if times:
        expect(page.get_by_role("status")).to_contain_text(f"{times} done today")


def shows(page: Page, question: str) -> None:
    expect(page.locator(".prompt .rich")).to_contain_text(question)


def test_k_answers_take_k_keystrokes_at_most(desk: Any) -> None:
    page = desk.begin(*([f"{k} answers, number {i}" for i in range(k)] for k in range(2, 10)))
    wanted = []
    for number, k in enumerate(range(2, 10), start=1):
        shows(page, f"Question {number}?")
        order = random.Random(k).sample(LETTERS[:k], k)
        wanted.append([[text_of(page, label)] for label in order])
        keys = [label.lower() if k % 2 else str(LETTERS.index(label) + 1) for label in order]
        pressed = press(page, *keys[:-1])
        assert ranks(page) == {label: place for place, label in enumerate(order, start=1)}
        assert pressed + press(page, "Enter") == k
    expect(page.get_by_role("heading", name="All done")).to_be_visible()
    sent(page, 8)
    assert [desk.texts(row) for row in desk.stored()] == wanted


def test_a_tie_costs_one_key_wherever_it_stands(desk: Any) -> None:
    page = desk.begin(*(["one", "two", "three", f"four of {n}"] for n in range(3)))
    wanted = []
    for keys, order in (
        (("b", "=", "d", "a"), "BD A C"),
        (("c", "a", "b", "t"), "C A BD"),
        (("1", "=", "2", "=", "3", "="), "ABCD"),
    ):
        wanted.append([sorted(text_of(page, label) for label in group) for group in order.split()])
        ties = sum(len(group) - 1 for group in order.split())
        question = page.locator(".prompt").inner_text()
        assert press(page, *keys, "Enter") == 4 + ties
        expect(page.locator("#task")).not_to_contain_text(question)
    sent(page, 3)
    assert [desk.texts(row) for row in desk.stored()] == wanted


def test_all_bad_is_one_key(desk: Any) -> None:
    page = desk.begin(["one", "two", "three"], ["four", "five"])
    press(page, "0", "Enter")
    shows(page, "Question 2?")
    press(page, "2", "0", "Enter")
    sent(page, 2)
    first, second = desk.stored()
    assert (first.payload["all_bad"], desk.texts(first)) == (True, [["one", "three", "two"]])
    assert (second.payload["all_bad"], len(second.payload["groups"])) == (True, 2)  # an order among bad ones stays


def test_an_untouched_list_is_refused_and_nothing_is_preset(desk: Any) -> None:
    page = desk.begin(["one", "two", "three"])
    assert ranks(page) == {}
    press(page, "Enter", "Enter")
    expect(page.locator(".say")).to_have_text("Not ranked yet: A, B, C.")
    page.get_by_role("button", name="Submit and go on").click()
    press(page, "b")
    press(page, "Enter")
    expect(page.locator(".say")).to_have_text("Not ranked yet: A, C.")
    assert desk.stored() == []


def test_steps_are_taken_back_and_a_held_key_counts_once(desk: Any) -> None:
    page = desk.begin(["one", "two", "three"])
    press(page, "b", "a")
    assert ranks(page) == {"B": 1, "A": 2, "C": 3}
    press(page, "=")
    assert ranks(page) == {"B": 1, "A": 2, "C": 2}
    press(page, "Backspace", "Backspace")
    assert ranks(page) == {"B": 1}
    page.keyboard.down("c")
    page.keyboard.down("c")  # the browser repeats a held key
    page.keyboard.up("c")
    press(page, "b")  # has its place already
    assert ranks(page) == {"B": 1, "C": 2, "A": 3}
    press(page, "Backspace", "Backspace", "Backspace")
    assert ranks(page) == {}


def test_letters_in_a_text_field_are_letters(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four"])
    press(page, "n")
    page.keyboard.type("a bad 0 = s ?")
    assert ranks(page) == {}
    press(page, "Escape", "2", "Enter")
    shows(page, "Question 2?")
    sent(page, 1)
    assert desk.stored()[0].payload["note"] == "a bad 0 = s ?"


def test_strength_ratings_flags_rules_and_a_better_answer(desk: Any) -> None:
    rules = (Rule(id="no_threats", text="It threatens nobody."),)
    form = RankingForm(strength="required", ratings="required", rationale="required", rules=rules)
    page = desk.begin(["plain answer", "worse"], form=form)
    press(page, "1", "Enter")
    expect(page.locator(".say")).to_contain_text("how much better")
    press(page, ".", ".", ".", ",", "Enter")
    expect(page.locator(".say")).to_have_text("Rate A, B, too: 1 is the worst, 7 the best.")
    for label, step in (("A", 6), ("B", 2)):
        page.get_by_role("radio", name=f"{step} of 7 for answer {label}").check(force=True)
    page.locator('article[data-label="B"]').get_by_text("Flag", exact=True).click()
    page.locator('article[data-label="B"]').get_by_label("Unsafe").check()
    page.locator('article[data-label="A"]').get_by_text("Breaks a rule").click()
    page.locator('article[data-label="A"]').get_by_label("It threatens nobody.").check()
    press(page, "w")
    page.get_by_label("Begin with").select_option("A")
    copied = page.get_by_label("Better answer").input_value()
    page.get_by_label("Better answer").fill(f"{copied}\nand more")
    press(page, "Escape", "Enter")
    expect(page.locator(".say")).to_contain_text("a few words on why")
    page.keyboard.type("it says more")
    best = text_of(page, "A")
    press(page, "Control+Enter")
    sent(page, 1)
    payload = desk.stored()[0].payload
    first, second = (group[0] for group in payload["groups"])
    assert copied == best
    assert payload == {
        "groups": [[first], [second]],
        "strength": 2,
        "ratings": {first: 6, second: 2},
        "flags": {second: ["unsafe"]},
        "broken": {first: ["no_threats"]},
        "note": "it says more",
        "demonstration": {"text": f"{best}\nand more", "based_on": first},
    }


def test_the_last_answer_opens_again_with_one_key(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four", "five"])
    press(page, "1", "Enter")
    shows(page, "Question 2?")
    press(page, "3")
    press(page, "u")
    shows(page, "Question 1?")
    assert ranks(page) == {"A": 1, "B": 2}
    best = text_of(page, "B")
    press(page, "Backspace", "2", "Enter")
    shows(page, "Question 2?")
    assert ranks(page) == {"C": 1}  # what was begun waits
    sent(page, 1)
    old, new = desk.stored()
    assert new.supersedes == old.id
    assert desk.texts(new)[0] == [best]
    press(page, "u", "Backspace", "Escape")  # leave it as it was
    shows(page, "Question 2?")
    press(page, "u")
    assert ranks(page) == {"B": 1, "A": 2}
    press(page, "Escape", "1", "Enter")
    sent(page, 2)
    last = desk.stored()[2]
    assert 0 <= last.active_ms <= last.total_ms < 60_000  # the corrections' time is not in it


def test_skipping_by_keys(desk: Any) -> None:
    page = desk.begin(["one", "two"], ["three", "four"])
    press(page, "s", "2", "Enter")
    shows(page, "Question 2?")
    sent(page)
    with Session(desk.engine) as session:
        mine = select(Assignment).where(
            Assignment.person_id == desk.person_id, Assignment.state == AssignmentState.SKIPPED
        )
        assert [row.skip_reason for row in session.scalars(mine)] == ["Not my language"]


def drag(page: Page, source: str, target: str) -> None:
    """From the middle of one element to the middle of another, with the mouse."""
    start = page.locator(source).bounding_box()
    assert start
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(start["x"] + 20, start["y"] - 20, steps=3)
    end = page.locator(target).bounding_box()
    assert end
    page.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2, steps=4)
    page.mouse.up()


def test_dragging_with_the_mouse(desk: Any) -> None:
    page = desk.begin(["one", "two", "three"])
    drag(page, 'article[data-label="B"] .grip', '.gap[data-gap="0"]')
    assert ranks(page) == {"B": 1}
    drag(page, '.rest [data-drag="C"]', '.gap[data-gap="0"]')
    assert ranks(page) == {"C": 1, "B": 2, "A": 3}  # the last one falls into place, as it does with keys
    drag(page, 'article[data-label="A"] .grip', '.box[data-place="1"]')  # on a place: a tie
    assert ranks(page) == {"C": 1, "A": 2, "B": 2}
    drag(page, '.box [data-drag="A"]', '.gap[data-gap="1"]')  # out of it, between the two
    assert ranks(page) == {"C": 1, "A": 2, "B": 3}
    page.mouse.click(*middle(page, '.box [data-drag="A"]'))  # a tap takes it out
    assert ranks(page) == {"C": 1, "B": 2}
    page.mouse.click(*middle(page, '.rest [data-drag="A"]'))  # and picks it
    press(page, "Enter")
    sent(page, 1)
    assert len(desk.stored()[0].payload["groups"]) == 3


def middle(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


WIDE = (
    "| "
    + " | ".join(["a wide table"] * 9)
    + " |\n|"
    + "---|" * 9
    + "\n\n```\n"
    + "x = 1; " * 60
    + "\n```\n\n"
    + "w" * 300
)


def test_a_finger_on_a_phone(desk: Any) -> None:
    desk.begin(["one", "two", WIDE], guidelines="Be fair.")
    phone = desk.open(desk.person_id, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    touches = phone.context.new_cdp_session(phone)

    def touch(kind: str, *at: float) -> None:
        points = [{"x": at[0], "y": at[1]}] if at else []
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    x, y = middle(phone, '.rest [data-drag="C"]')
    touch("touchStart", x, y)
    touch("touchMove", x - 10, y - 10)
    touch("touchMove", *middle(phone, '.gap[data-gap="0"]'))
    touch("touchEnd")
    assert ranks(phone) == {"C": 1}
    phone.touchscreen.tap(*middle(phone, '.rest [data-drag="A"]'))
    assert ranks(phone) == {"C": 1, "A": 2, "B": 3}
    assert phone.evaluate("[scrollX, document.documentElement.scrollWidth <= 360]") == [0, True]
    phone.get_by_role("button", name="Submit and go on").tap()
    sent(phone, 1)
    assert len(desk.stored()) == 1


def test_without_scripts_it_is_a_plain_form(desk: Any) -> None:
    desk.begin(["one", "two"], ["three", "four"], ["five", "six"])
    page = desk.open(desk.person_id, java_script_enabled=False)
    expect(page.get_by_text("Question 1?").first).to_be_visible()
    page.get_by_role("button", name="Submit and go on").click()  # nothing chosen: the browser refuses
    expect(page.get_by_text("Question 1?").first).to_be_visible()
    page.get_by_role("radio", name="Rank 1 for answer B").check(force=True)
    page.get_by_role("radio", name="Rank 2 for answer A").check(force=True)
    page.get_by_label("Plain text").check()
    expect(page.locator('article[data-label="A"] .source')).to_be_visible()
    page.get_by_role("button", name="Submit and go on").click()
    expect(page.get_by_role("status")).to_contain_text("1 done today")
    page.get_by_role("button", name="All are bad, go on").click()
    expect(page.get_by_role("status")).to_contain_text("2 done today")
    page.get_by_text("Skip", exact=True).click()
    page.get_by_label("The task is unclear or broken").check()
    page.get_by_label("In your words").fill("no question")
    page.get_by_role("button", name="Skip this task").click()
    expect(page.get_by_role("heading", name="All done")).to_be_visible()
    first, second = desk.stored()
    assert len(first.payload["groups"]) == 2
    assert second.payload["all_bad"] is True


def test_plain_text_and_differences_on_demand(desk: Any) -> None:
    page = desk.begin(["**The fox** is red.", "**The fox** is white.", "狐狸是红色的", "狐狸是白色的"])
    at = {text_of(page, label): label for label in "ABCD"}
    expect(page.locator(".answer .source").first).to_be_hidden()
    press(page, "p")
    expect(page.locator(".answer .source").first).to_be_visible()
    expect(page.locator(".answer .rich").first).to_be_hidden()
    press(page, "p", "v")
    for one, other, gone, new in (
        ("**The fox** is red.", "**The fox** is white.", "red", "white"),
        ("狐狸是红色的", "狐狸是白色的", "红", "白"),
    ):
        page.locator("select[data-side=old]").select_option(at[one])
        page.locator("select[data-side=new]").select_option(at[other])
        expect(page.locator("#compare del")).to_have_text([gone])
        expect(page.locator("#compare ins")).to_have_text([new])
    expect(page.locator("#compare [data-summary]")).to_have_text("One place differs.")
    press(page, "Escape")
    expect(page.locator("#compare")).to_be_hidden()
    press(page, "?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    press(page, "1")  # behind an open help nothing is ranked
    assert ranks(page) == {}


def test_differences_are_the_shortest_and_whole(desk: Any) -> None:
    """Against a table of longest common subsequences, on random texts of few letters."""
    page = desk.begin(["one", "two"])
    wrong = page.evaluate(
        """async () => {
          const { edits, difference } = await import("/static/compare.js");
          let seed = 7;
          const random = (n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
          const common = (a, b) => a.reduce((above, x) => b.reduce((row, y, j) =>
            [...row, x === y ? above[j] + 1 : Math.max(above[j + 1], row[j])], [0]),
            Array(b.length + 1).fill(0)).at(-1);
          const wrong = [];
          for (let n = 0; n < 800; n += 1) {
            const [a, b] = [0, 1].map(() => Array.from({ length: random(12) }, () => "abc"[random(3)]));
            const script = edits(a, b);
            const side = (mark) => script.filter(([kind]) => kind === mark || kind === "=")
              .map(([, part]) => part).join("");
            const same = script.filter(([kind]) => kind === "=").length;
            const whole = side("-") === a.join("") && side("+") === b.join("");
            if (!whole || same !== common(a, b)) wrong.push([a, b, script]);
          }
          const far = difference("a ".repeat(40000), "b ".repeat(40000));
          return [wrong.length, far.length];
        }"""
    )
    assert wrong == [0, 2]


# ---------------------------------------------------------------- the qualification set


@pytest.mark.parametrize(("best", "told"), [("A", "All done"), ("B", "was not passed")])
def test_the_end_of_the_qualification_set_is_told_as_it_is(desk: Any, best: str, told: str) -> None:
    page = desk.begin(["one", "two"])
    with Session(desk.engine) as session:
        task = session.scalars(select(Task).where(Task.project_id == desk.project_id)).one()
        task.gold, task.overlap = True, 0
        keys = [str(key) for key in desk.factory(session).response_ids(task)]
        known = {"use": GoldUse.ENTRY, "expected": {"order": [[key] for key in keys]}, "why": "So.", "overlap": 1}
        owner = desk.factory(session).person()
        session.add(GoldItem(task_id=task.id, project_id=task.project_id, made_by=owner.id, **known))
        session.add(QualityRules(project_id=task.project_id, entry=1.0))
        session.commit()
    page.reload()
    right = "A" if text_of(page, "A") == "one" else "B"
    press(page, right if best == "A" else "AB".replace(right, ""), "Enter")
    expect(page.locator("#task")).to_contain_text(told)
