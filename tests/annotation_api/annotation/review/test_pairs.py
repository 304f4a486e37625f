"""Answers on a pair name what their person saw first and second: with the pair turned round the contrary."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from annotation_api.db.forms import Option, Question, QuestionsForm
from annotation_api.db.tables import FeedbackKind, Role, Task

Clients = Callable[..., TestClient]
WHICH = Question(
    id="better",
    text="Which is better?",
    kind="choice",
    options=(Option(id="first", text="A"), Option(id="second", text="B"), Option(id="tie", text="Equal")),
)
WORDS = Question(id="word", text="In a word?", kind="text", required=False)
PLACES = tuple(Option(id=name, text=name) for name in ("first", "second", "third"))
PLACE = Question(id="place", text="Where does the prompt err?", kind="choice", options=PLACES, required=False)
PAIR = QuestionsForm(
    about="pair", questions=(WHICH, Question(id="true", text="Is it true?", kind="yes_no"), WORDS, PLACE)
)


class Pairs:
    """A project that asks which of two responses is better."""

    def __init__(self, session: Session, make: Any, as_: Clients) -> None:
        self.session, self.make = session, make
        self.project = make.project(make.person(Role.ENGINEER), forms=[PAIR])
        self.url = f"/v1/projects/{self.project.id}"
        self.reviewer = as_(Role.REVIEWER)

    def task(self, text: str, *said: tuple[str, bool], **also: str) -> Task:
        """A task on which people said (which is better, whether they saw the pair turned round), and `also` all."""
        prompt = self.make.prompt(self.project, text)
        task: Task = self.make.task(prompt, ("good", "bad"), kind=FeedbackKind.QUESTIONS, overlap=5)
        for better, turned in said:
            shown = [str(key) for key in self.make.response_ids(task)]
            held = self.make.assignment(
                task, self.make.person(Role.ANNOTATOR), display_order=shown[::-1] if turned else shown
            )
            payload = {"answers": {"better": better, "true": True} | also}
            self.make.submission(task, [], assignment_id=held.id, kind="questions", payload=payload)
        self.session.commit()
        return task

    def apart(self, task: Task) -> Any:
        return self.reviewer.get(f"{self.url}/tasks/{task.id}/answers").json()["disagreement"]


@pytest.fixture
def pairs(session: Session, make: Any, as_: Clients) -> Pairs:
    return Pairs(session, make, as_)


def test_who_prefers_the_same_response_is_of_one_mind(pairs: Pairs) -> None:
    agreed = pairs.task("agreed", ("first", False), ("second", True))
    apart = pairs.task("apart", ("first", False), ("first", True))
    assert (pairs.apart(agreed), pairs.apart(apart)) == (0, 0.5)
    disputed = pairs.reviewer.get(f"{pairs.url}/disputed").json()["items"]
    assert [(item["task"], item["disagreement"]) for item in disputed] == [(str(apart.id), 0.5)]
    found = pairs.reviewer.get(f"{pairs.url}/answers", params={"disagrees": True}).json()["items"]
    assert [item["task"] for item in found] == [str(apart.id)] * 2


def test_an_answer_that_names_no_side_is_not_turned(pairs: Pairs, browser_of: Callable[..., TestClient]) -> None:
    """Words of one's own, and a choice about something else, are the same for whoever saw the pair turned round."""
    also = {"word": "first", "place": "second"}
    agreed = pairs.task("agreed", ("first", False), ("second", True), **also)
    assert pairs.apart(agreed) == 0
    assert pairs.reviewer.get(f"{pairs.url}/disputed").json()["items"] == []
    assert pairs.reviewer.get(f"{pairs.url}/answers", params={"disagrees": True}).json()["items"] == []
    page = browser_of(Role.REVIEWER).get(f"/projects/{pairs.project.id}/review/tasks/{agreed.id}").text
    assert re.findall(r"(word|place): (\w+)", page) == [("word", "first"), ("place", "second")] * 2
    body = {"payload": {"answers": {"better": "first", "true": True, "place": "second"}}}
    assert pairs.reviewer.post(f"{pairs.url}/tasks/{agreed.id}:decide", json=body).status_code == 201
    people = pairs.reviewer.get(f"{pairs.url}/signals").json()["items"]
    assert [one["researchers"]["agreement"] for one in people] == [1, 1]
    figures = pairs.reviewer.get(f"{pairs.url}/agreement").json()["figures"]
    same = {row["subject"]: row["estimate"] for row in figures if row["statistic"] == "same"}
    assert same == {"question better": 1, "question true": 1, "question place": 1}


def test_those_who_tie_the_same_disagree_in_no_order_of_the_tie(pairs: Pairs, make: Any, session: Session) -> None:
    project = make.project()
    task = make.task(make.prompt(project), ("a", "b", "c"), overlap=2)
    for groups in ([[0, 1], [2]], [[1, 0], [2]]):
        make.submission(task, groups)
    session.commit()
    found = pairs.reviewer.get(f"/v1/projects/{project.id}/answers", params={"disagrees": True}).json()["items"]
    assert found == []


def test_the_page_shows_what_each_said_of_the_responses_as_they_stand_there(
    pairs: Pairs, browser_of: Callable[..., TestClient]
) -> None:
    task = pairs.task("agreed", ("first", False), ("second", True))
    page = browser_of(Role.REVIEWER).get(f"/projects/{pairs.project.id}/review/tasks/{task.id}").text
    assert re.findall(r"better: \w+", page) == ["better: first"] * 2


def test_a_decision_is_held_against_the_response_that_is_meant(pairs: Pairs) -> None:
    task = pairs.task("agreed", ("first", False), ("second", True), ("second", False))
    body = {"payload": {"answers": {"better": "first", "true": True}}}
    assert pairs.reviewer.post(f"{pairs.url}/tasks/{task.id}:decide", json=body).status_code == 201
    people = pairs.reviewer.get(f"{pairs.url}/signals").json()["items"]
    assert sorted(one["researchers"]["agreement"] for one in people) == [0.5, 1, 1]


def test_a_gold_item_is_right_for_whoever_means_the_expected_response(pairs: Pairs, as_: Clients, person: Any) -> None:
    task = pairs.task("known")
    expected = {"expected": {"answers": {"better": "first"}}, "why": "It is good.", "use": "entry"}
    assert pairs.reviewer.put(f"{pairs.url}/tasks/{task.id}/gold", json=expected).status_code == 200
    assert as_(Role.ENGINEER).patch(f"{pairs.url}/quality", json={"entry": 1.0}).status_code == 200
    seen = set()
    for number in range(2):  # a pair stands in each order in turn
        client = as_(person(Role.ANNOTATOR))
        shown = client.post(f"{pairs.url}/next").json()
        seen.add(first := shown["responses"][0]["text"])
        said = {"better": "first" if first == "good" else "second", "true": False}
        body = {"id": f"00000000-0000-4000-8000-00000000000{number}", "assignment": shown["assignment"]}
        sent = client.post("/v1/submissions", json=body | {"kind": "questions", "payload": {"answers": said}})
        assert sent.json()["feedback"]["correct"], sent.text
    assert seen == {"good", "bad"}
