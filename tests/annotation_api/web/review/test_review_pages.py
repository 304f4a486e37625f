"""The pages of the quality desk: a reviewer's, an owner's and an annotator's walk through them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_api.db.forms import Question, QuestionsForm, RankingForm, Rule, RulesForm
from annotation_api.db.tables import (
    Comment,
    FeedbackKind,
    GoldItem,
    PersonStanding,
    QualityRules,
    Role,
    Submission,
    TaskDecision,
)
from annotation_api.web.review import pages

Browsers = Callable[..., TestClient]


class Rooms:
    """A project with a task that two people judged differently."""

    def __init__(self, session: Session, make: Any, person: Any) -> None:
        self.session, self.make = session, make
        self.owner = make.person(Role.ENGINEER)
        self.project = make.project(self.owner, name="Helpfulness")
        self.task = make.task(make.prompt(self.project, "Which is it?"), ("four", "five"), overlap=3, judged=2)
        self.people = [person(Role.ANNOTATOR) for _ in range(2)]
        self.first = make.submission(self.task, [[0], [1]], self.people[0], active_ms=61_000)
        make.submission(self.task, [[1], [0]], self.people[1])
        session.commit()
        self.url = f"/projects/{self.project.id}/review"
        self.of_task = f"{self.url}/tasks/{self.task.id}"


@pytest.fixture
def rooms(session: Session, make: Any, person: Any) -> Rooms:
    return Rooms(session, make, person)


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s+", " ", answer.text)


def test_every_room_opens_for_those_who_read_annotations(rooms: Rooms, browser_of: Browsers) -> None:
    for role in (Role.REVIEWER, Role.ENGINEER, Role.ADMIN):
        browser = browser_of(role)
        assert f'href="{rooms.url}"' in text_of(browser.get(f"/projects/{rooms.project.id}"))
        for room in ("", "/disputed", "/annotators", "/gold", "/hours", f"/answers/{rooms.first.id}"):
            assert "Helpfulness" in text_of(browser.get(f"{rooms.url}{room}"))
    assert browser_of(Role.ANNOTATOR).get(rooms.url).status_code == 403


def test_a_reviewer_finds_reads_and_sends_back_an_answer(rooms: Rooms, browser_of: Browsers) -> None:
    browser = browser_of(Role.REVIEWER)
    listed = text_of(browser.get(rooms.url, params={"annotator": rooms.people[0].pseudonym, "slower": "60"}))
    assert listed.count(f"{rooms.url}/answers/") == 1
    assert "1 min 1 s" in listed
    assert "No answer fits." in text_of(browser.get(rooms.url, params={"faster": "60"}))
    page = f"{rooms.url}/answers/{rooms.first.id}"
    assert "rank 1" in text_of(browser.get(page))
    empty = browser.post(page, data={"outcome": "sent_back", "comment": " "})
    assert empty.status_code == 422
    assert "say what should be changed" in empty.text
    assert browser.post(page, data={"outcome": "sent_back", "comment": "Look again."}).status_code == 303
    assert "sent back" in text_of(browser.get(page))
    annotator = browser_of(rooms.people[0])
    assert "What waits for you: 1" in text_of(annotator.get("/"))
    assert "Look again." in text_of(annotator.get("/waiting"))
    thread = f"/threads/{rooms.first.assignment_id}"
    assert f"submission={rooms.first.id}" in text_of(annotator.get(thread))
    assert annotator.post(thread, data={"text": "Why?"}).status_code == 303
    assert "Nothing waits for you." in text_of(annotator.get("/waiting"))
    owner = browser_of(rooms.owner)
    assert "Why?" in text_of(owner.get("/waiting"))
    assert owner.post(thread, data={"do": "settle"}).headers["location"] == "/waiting"
    assert "Nothing waits for you." in text_of(owner.get("/waiting"))
    assert annotator.post(thread, data={"text": " "}).status_code == 422


def test_who_answers_holds_no_message_while_the_prompt_is_waited_for(
    rooms: Rooms, session: Session, browser_of: Browsers, statements: Any
) -> None:
    """An erasure holds the prompt, and then empties the messages."""
    session.add(Comment(assignment_id=rooms.first.assignment_id, author_id=rooms.owner.id, text="Look.", asks=False))
    session.commit()
    annotator = browser_of(rooms.people[0])
    with statements() as asked:
        assert annotator.post(f"/threads/{rooms.first.assignment_id}", data={"text": "Why?"}).status_code == 303
    held = next(n for n, one in enumerate(asked) if "FROM prompts" in one and "FOR KEY SHARE" in one)
    assert [n > held for n, one in enumerate(asked) if one.startswith("UPDATE comments")] == [True]


def test_a_disputed_task_is_decided_and_becomes_gold_as_decided(
    rooms: Rooms, session: Session, browser_of: Browsers
) -> None:
    browser = browser_of(Role.REVIEWER)
    assert rooms.of_task in text_of(browser.get(f"{rooms.url}/disputed"))
    page = text_of(browser.get(rooms.of_task))
    assert "A › B" in page
    assert "B › A" in page
    assert "Apart: 100 %" in page
    missing = browser.post(rooms.of_task, data={"submission": str(uuid.uuid4()), "rank-A": "1"})
    assert missing.status_code == 422
    assert "Choose a rank for B." in missing.text
    decided = browser.post(
        rooms.of_task, data={"submission": str(uuid.uuid4()), "rank-A": "1", "rank-B": "2", "note": "Count."}
    )
    assert decided.status_code == 303, decided.text
    assert session.scalars(select(TaskDecision)).one().payload["note"] == "Count."
    assert "Decided by" in text_of(browser.get(rooms.of_task))
    assert "Nobody disagrees." in text_of(browser.get(f"{rooms.url}/disputed"))
    gold = browser.post(f"{rooms.of_task}/gold", data={"as_decided": "yes", "why": "Four it is.", "use": "mixed"})
    assert gold.status_code == 303, gold.text
    assert "Expected: A › B" in text_of(browser.get(rooms.of_task))
    assert "Four it is." in text_of(browser.get(f"{rooms.url}/gold"))
    assert browser.post(f"{rooms.of_task}/gold/withdraw").status_code == 303
    assert session.scalars(select(GoldItem)).all() == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"order": "b > a"}, {"order": [[1], [0]]}),
        ({"place-A": "not_last"}, {"constraints": [(0, "not_last")]}),
        ({"order": "A > C"}, "Write the order with the letters of the answers, for example A &gt; B = C."),
        ({"order": "A"}, "At least 2 must be given"),
        ({}, "Say what is expected"),
        ({"as_decided": "yes"}, "not decided yet"),
    ],
)
def test_what_a_gold_item_expects_is_said_in_letters(
    rooms: Rooms, session: Session, browser_of: Browsers, fields: dict[str, str], expected: Any
) -> None:
    answer = browser_of(Role.ENGINEER).post(f"{rooms.of_task}/gold", data={"why": "So.", "use": "entry"} | fields)
    if isinstance(expected, str):
        assert answer.status_code == 422
        assert expected in answer.text
        return
    assert answer.status_code == 303, answer.text
    keys = [str(key) for key in rooms.make.response_ids(rooms.task)]
    stored = session.scalars(select(GoldItem)).one().expected
    if "order" in expected:
        assert stored == {"order": [[keys[place] for place in group] for group in expected["order"]]}
    else:
        places = [{"response": keys[place], "place": word} for place, word in expected["constraints"]]
        assert stored == {"constraints": places}


def test_rules_are_entered_in_per_cent(rooms: Rooms, session: Session, browser_of: Browsers) -> None:
    engineer = browser_of(Role.ENGINEER)
    saved = engineer.post(f"{rooms.url}/rules", data={"gold_rate": "5", "bar": "70", "entry": ""})
    assert saved.status_code == 303, saved.text
    rules = session.get_one(QualityRules, rooms.project.id)
    assert (rules.gold_rate, rules.bar, rules.entry, rules.names_shown) == (0.05, 0.7, None, False)
    wrong = engineer.post(f"{rooms.url}/rules", data={"gold_rate": "many", "bar": "", "entry": ""})
    assert wrong.status_code == 422
    assert 'value="many"' in wrong.text
    assert engineer.post(f"{rooms.url}/rules", data={"gold_rate": "90", "bar": "", "entry": ""}).status_code == 422
    admin = browser_of(Role.ADMIN)
    fields = {"gold_rate": "5", "bar": "", "entry": "", "names_shown": "yes"}
    assert admin.post(f"{rooms.url}/rules", data=fields).status_code == 303
    assert rooms.people[0].name in text_of(browser_of(Role.REVIEWER).get(rooms.url))


def test_a_person_is_paused_and_let_in_again(rooms: Rooms, session: Session, browser_of: Browsers) -> None:
    browser, who = browser_of(Role.REVIEWER), rooms.people[0]
    page = f"{rooms.url}/annotators/{who.id}"
    assert browser.post(page, data={"do": "pause", "reason": "We talk first."}).status_code == 303
    assert "We talk first." in text_of(browser.get(f"{rooms.url}/annotators"))
    assert "person paused" in text_of(browser.get(rooms.url))
    refused = browser_of(who).get(f"/projects/{rooms.project.id}/annotate")
    assert refused.status_code == 409
    assert "paused" in refused.text
    for first in ("/", f"/projects/{rooms.project.id}"):
        told = text_of(browser_of(who).get(first))
        assert "Your work in this project is paused." in told
        assert "left for you" not in told
    assert browser.post(page, data={"do": "resume"}).status_code == 303
    assert session.get_one(PersonStanding, (rooms.project.id, who.id)).paused_at is None
    assert browser_of(who).get(f"/projects/{rooms.project.id}/annotate").status_code == 200


def test_the_word_on_an_answer_to_the_qualification_set_stands_in_the_status(
    rooms: Rooms, browser_of: Browsers, make: Any
) -> None:
    owner, asked = browser_of(Role.ENGINEER), make.task(make.prompt(rooms.project, "Qualified?"))
    url = f"{rooms.url}/tasks/{asked.id}/gold"
    assert owner.post(url, data={"order": "A > B", "why": "Because it is.", "use": "entry"}).status_code == 303
    owner.post(f"{rooms.url}/rules", data={"gold_rate": "", "bar": "", "entry": "50"})
    annotator = browser_of(Role.ANNOTATOR)
    page = annotator.get(f"/projects/{rooms.project.id}/annotate")
    assert "Qualified?" in page.text
    assert "/threads/" in page.text
    found = re.search(r'name="assignment" value="([^"]+)"', page.text)
    assert found is not None
    fields = {"assignment": found[1], "submission": str(uuid.uuid4()), "rank-A": "1", "rank-B": "1"}
    said = annotator.post(f"/projects/{rooms.project.id}/annotate?background=true", data=fields)
    assert "Not right." in said.text
    assert "Because it is." in said.text
    card = f"/projects/{rooms.project.id}/card"
    told = annotator.post(card, headers={"Accept": "application/problem+json", "Accept-Language": "zh-CN"}).json()
    assert (told["type"], told["detail"]) == ("urn:rankloop:paused", "资格题未通过。项目负责人可以让您加入。")
    assert "qualification set was not passed" in annotator.get(f"/projects/{rooms.project.id}/annotate").text


def test_where_responses_stand_in_a_gold_item_is_said_in_the_language_of_the_page(
    rooms: Rooms, browser_of: Browsers
) -> None:
    browser = browser_of(Role.ENGINEER)
    sent = {"place-A": "best", "place-B": "not_best", "why": "So.", "use": "mixed"}
    assert browser.post(f"{rooms.of_task}/gold", data=sent).status_code == 303
    for page in (f"{rooms.url}/gold", rooms.of_task):
        assert "A: best, B: not best" in text_of(browser.get(page))
        assert "A：最好，B：不是最好" in text_of(browser.get(page, headers={"Accept-Language": "zh"}))


def test_agreement_shows_names_to_those_who_see_them_elsewhere(
    rooms: Rooms, session: Session, browser_of: Browsers
) -> None:
    page = f"/projects/{rooms.project.id}/agreement?people=true"
    names = [who.name for who in rooms.people]
    assert all(name in text_of(browser_of(Role.ADMIN).get(page)) for name in names)
    told = text_of(browser_of(Role.REVIEWER).get(page))
    assert not any(name in told for name in names)
    assert all(who.pseudonym in told for who in rooms.people)


def test_questions_and_rules_are_read_and_decided(session: Session, make: Any, browser_of: Browsers) -> None:
    forms = [
        RankingForm(),
        QuestionsForm(questions=(Question(id="right", text="Is it right?", kind="yes_no"),)),
        RulesForm(rules=(Rule(id="polite", text="Is polite."),)),
    ]
    project = make.project(forms=forms)
    for kind, field, value, payload in (
        (FeedbackKind.QUESTIONS, "answer-right", "yes", {"answers": {"right": True}}),
        (FeedbackKind.RULES, "rule-polite", "broken", {"verdicts": {"polite": "broken"}}),
    ):
        task = make.task(make.prompt(project, kind.value), ("one",), kind=kind)
        said = make.assignment(task, make.person(Role.ANNOTATOR))
        fields = {"assignment_id": said.id, "kind": kind, "payload": payload, "payload_hash": "0" * 64}
        answer = Submission(id=uuid.uuid4(), **fields)
        session.add(answer)
        session.commit()
        browser, room = browser_of(Role.REVIEWER), f"/projects/{project.id}/review"
        asked = "Is it right?" if kind is FeedbackKind.QUESTIONS else "Is polite."
        assert asked in text_of(browser.get(f"{room}/answers/{answer.id}"))
        decided = browser.post(f"{room}/tasks/{task.id}", data={field: value, "submission": str(uuid.uuid4())})
        assert decided.status_code == 303, decided.text
        query = select(TaskDecision).where(TaskDecision.task_id == task.id)
        assert session.scalars(query).one().payload == payload
        gold = {"as_decided": "yes", "why": "So.", "use": "mixed"}
        assert browser.post(f"{room}/tasks/{task.id}/gold", data=gold).status_code == 303
        assert "polite: broken" in text_of(browser.get(f"{room}/gold")) or kind is FeedbackKind.QUESTIONS


def test_hours_are_a_page_and_a_table(rooms: Rooms, browser_of: Browsers) -> None:
    browser = browser_of(Role.ENGINEER)
    page = text_of(browser.get(f"{rooms.url}/hours"))
    assert "1 min 1 s" in page
    assert rooms.people[0].pseudonym in page
    assert "untimed: 1" in page
    table = browser.get(f"/v1/projects/{rooms.project.id}/hours?format=csv")
    assert table.headers["content-type"].startswith("text/csv")
    head, *lines = table.text.splitlines()
    assert head == "day,annotator,name,tasks,corrections,untimed,seconds,low,median,high"
    assert any(f"{rooms.people[0].pseudonym},,1,0,0,61.0,61.0,61.0,61.0" in line for line in lines)
    assert browser.get(f"{rooms.url}/hours", params={"since": "", "until": ""}).status_code == 200
    assert browser.get(f"{rooms.url}/hours", params={"since": "2030-01-02", "until": "2030-01-01"}).status_code == 422
    assert browser.get(f"{rooms.url}/hours", params={"until": "0001-01-02"}).status_code == 200  # the calendar begins


def test_hours_of_two_people_of_one_name_are_not_added_up(rooms: Rooms, session: Session, browser_of: Browsers) -> None:
    for person, seconds in zip(rooms.people, (100, 200), strict=True):
        person.name = "Wei Wang"
        task = rooms.make.task(rooms.make.prompt(rooms.project, f"{seconds}?"))
        rooms.make.submission(task, [[0], [1]], person, active_ms=1000 * seconds)
    session.commit()
    page = text_of(browser_of(Role.ADMIN).get(f"{rooms.url}/hours"))
    table = page[page.index("By person") : page.index("All together")]
    for person in rooms.people:
        assert table.count(person.pseudonym) == 1
    assert table.count("Wei Wang") == 2


def test_the_next_page_asks_for_no_less(
    rooms: Rooms, browser_of: Browsers, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In more than no seconds: those that have a time."""
    monkeypatch.setattr(pages, "PAGE", 1)
    rooms.make.submission(rooms.make.task(rooms.make.prompt(rooms.project, "Another?")), [[0], [1]], active_ms=5000)
    session.commit()
    browser = browser_of(Role.REVIEWER)
    following = re.search(r'href="(\?[^"]*cursor=[^"]*)"', text_of(browser.get(rooms.url, params={"slower": "0"})))
    assert following is not None
    assert "slower=0" in following[1]
