"""Gold items over HTTP: made, mixed in blind, held against answers; who is let in, and who is paused."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from alignment.shared.records import Prompt
from annotation_api.annotation.gold import screening
from annotation_api.annotation.tasks import queries
from annotation_api.db.locks import Lock
from annotation_api.db.snapshots.freeze import freeze_project
from annotation_api.db.snapshots.frozen_rows import FreezeError
from annotation_api.db.tables import Assignment, AssignmentState, DatasetKind, ProjectMember, Role, SnapshotRow, Task

Clients = Callable[..., TestClient]


class Desk:
    """A project with ordinary tasks and gold items, and its owner."""

    def __init__(self, session: Session, make: Any, as_: Clients, **project: Any) -> None:
        self.session, self.make, self.owner = session, make, as_(Role.ENGINEER)
        self.project = make.project(overlap=5, **project)
        self.url = f"/v1/projects/{self.project.id}"

    def task(self, prompt: Prompt | str, **fields: Any) -> Task:
        row: Task = self.make.task(self.make.prompt(self.project, prompt), ("good", "bad"), overlap=5, **fields)
        self.session.commit()
        return row

    def gold(self, prompt: Prompt | str, use: str = "mixed") -> Task:
        """The first response is the better one."""
        task = self.task(prompt)
        good, bad = map(str, self.make.response_ids(task))
        body = {"expected": {"order": [[good], [bad]]}, "why": "Good is better than bad.", "use": use}
        answer = self.owner.put(f"{self.url}/tasks/{task.id}/gold", json=body)
        assert answer.status_code == 200, answer.text
        self.session.refresh(task)
        return task

    def rules(self, **rules: Any) -> None:
        answer = self.owner.patch(f"{self.url}/quality", json=rules)
        assert answer.status_code == 200, answer.text

    def next(self, client: TestClient) -> dict[str, Any]:
        answer = client.post(f"{self.url}/next")
        return answer.json() if answer.status_code == 200 else {}

    def submit(self, client: TestClient, task: dict[str, Any], *, right: bool = True) -> Any:
        order = sorted((r["id"] for r in task["responses"]), key=lambda key: self.text(task, key) != "good")
        body = {"id": str(uuid.uuid4()), "assignment": task["assignment"]}
        groups = [[key] for key in (order if right else reversed(order))]
        return client.post("/v1/submissions", json=body | {"payload": {"groups": groups}})

    def text(self, task: dict[str, Any], key: str) -> str:
        return next(r["text"] for r in task["responses"] if r["id"] == key)


@pytest.fixture
def desk(session: Session, make: Any, as_: Clients) -> Desk:
    return Desk(session, make, as_)


@pytest.fixture
def every_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dice say gold each time."""
    monkeypatch.setattr(screening, "_dice", type("Dice", (), {"random": staticmethod(lambda: 0.0)}))


def test_a_gold_item_leaves_the_queue_and_looks_like_any_task_when_it_comes(
    desk: Desk, as_: Clients, every_claim: None
) -> None:
    plain, gold = desk.task("plain"), desk.gold("gold")
    assert (gold.gold, gold.overlap) == (True, 0)
    annotator = as_(Role.ANNOTATOR)
    first = desk.next(annotator)
    assert first["task"] == str(plain.id)  # no rate is set: gold items rest
    desk.submit(annotator, first)
    desk.task("plain too")
    desk.rules(gold_rate=0.5)
    second = desk.next(annotator)
    assert second["task"] == str(gold.id)
    assert second.keys() == first.keys()
    answer = desk.submit(annotator, second, right=False)
    assert answer.status_code == 201
    assert answer.json()["feedback"] is None  # blind
    assert desk.next(annotator)["task"] != str(gold.id)  # never twice


def test_the_number_of_tasks_left_falls_by_one_with_gold_too_and_gives_none_away(
    desk: Desk, person: Any, as_: Clients, every_claim: None
) -> None:
    desk.gold("gold")
    desk.gold("gold too")
    desk.task("plain")
    who = person(Role.ANNOTATOR)
    assert queries.left_for(desk.session, who, desk.project.id) == 1  # gold items rest: no rate is set
    desk.rules(gold_rate=0.5)
    annotator, seen = as_(who), []
    while task := desk.next(annotator):
        seen.append(queries.left_for(desk.session, who, desk.project.id))
        desk.submit(annotator, task)
    assert seen == [3, 2, 1]
    assert queries.left_for(desk.session, who, desk.project.id) == 0


def test_gold_comes_only_while_there_is_other_work(desk: Desk, as_: Clients, every_claim: None) -> None:
    """A task after "nothing is left" could only be gold."""
    desk.gold("gold")
    desk.rules(gold_rate=0.5)
    assert desk.next(as_(Role.ANNOTATOR)) == {}


def test_who_saw_a_gold_item_is_not_asked_it_again_even_unanswered(
    desk: Desk, session: Session, as_: Clients, every_claim: None
) -> None:
    gold, plain = desk.gold("gold"), desk.task("plain")
    desk.rules(gold_rate=0.5)
    annotator = as_(Role.ANNOTATOR)
    seen = desk.next(annotator)
    assert seen["task"] == str(gold.id)
    row = session.get_one(Assignment, uuid.UUID(seen["assignment"]))
    row.state = AssignmentState.EXPIRED
    session.commit()
    assert desk.next(annotator)["task"] == str(plain.id)


def test_who_made_an_item_is_not_asked_it(desk: Desk, as_: Clients, every_claim: None) -> None:
    plain = desk.task("plain")
    desk.owner = as_(Role.REVIEWER)
    desk.gold("gold")
    as_(Role.ENGINEER).patch(f"{desk.url}/quality", json={"gold_rate": 0.5})
    assert desk.next(desk.owner)["task"] == str(plain.id)


def test_a_gold_item_comes_to_those_who_judge_its_language(
    desk: Desk, session: Session, person: Any, as_: Clients, every_claim: None
) -> None:
    """Who is asked in another language than ever knows that it is gold."""
    asked = [Prompt.from_text(f"in {tongue}").model_copy(update={"language": tongue}) for tongue in ("en", "zh")]
    english, chinese = desk.gold(asked[0]), desk.gold(asked[1])
    plain = desk.task("plain")
    desk.rules(gold_rate=0.5)
    who, everything = person(Role.ANNOTATOR), as_(Role.ANNOTATOR)
    session.add(ProjectMember(project_id=desk.project.id, person_id=who.id, languages=["zh"]))
    session.commit()
    annotator, seen = as_(who), []
    assert queries.left_for(session, who, desk.project.id) == 2
    while task := desk.next(annotator):
        seen.append(task["task"])
        desk.submit(annotator, task)
    assert seen == [str(chinese.id), str(plain.id)]
    first = desk.next(everything)
    desk.submit(everything, first)
    assert {first["task"], desk.next(everything)["task"]} == {str(english.id), str(chinese.id)}


def test_a_gold_item_has_a_place_for_everybody(desk: Desk, as_: Clients, every_claim: None) -> None:
    gold = desk.gold("gold")
    desk.task("plain", priority=-1)
    desk.rules(gold_rate=0.5)
    people = [as_(Role.ANNOTATOR) for _ in range(7)]  # more than the overlap of 5
    held = [desk.next(person) for person in people]
    assert {task["task"] for task in held} == {str(gold.id)}
    assert [person.post(f"/v1/assignments/{task['assignment']}:renew").status_code for person, task in zip(
        people, held, strict=True
    )] == [200] * 7  # fmt: skip
    assert {desk.submit(person, task).status_code for person, task in zip(people, held, strict=True)} == {201}
    shown = desk.owner.get(f"{desk.url}/gold").json()["items"][0]
    assert (shown["answers"], shown["correct"]) == (7, 7)
    desk.session.refresh(gold)
    assert gold.judged == 0  # the counts of ordinary work know nothing of it


def test_what_cannot_be_the_answer_is_refused(desk: Desk) -> None:
    task = desk.task("plain")
    body = {"expected": {"verdicts": {"polite": "kept"}}, "why": "x"}
    answer = desk.owner.put(f"{desk.url}/tasks/{task.id}/gold", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/expected"
    assert desk.owner.put(f"{desk.url}/tasks/{uuid.uuid4()}/gold", json=body).status_code == 404


def test_an_item_nobody_answered_becomes_a_task_again_and_an_answered_one_is_withdrawn(
    desk: Desk, session: Session, as_: Clients, every_claim: None
) -> None:
    first, second = desk.gold("first"), desk.gold("second")
    desk.task("plain")
    desk.rules(gold_rate=0.5)
    assert desk.owner.delete(f"{desk.url}/tasks/{first.id}/gold").status_code == 204
    session.refresh(first)
    assert (first.gold, first.overlap) == (False, 5)
    annotator = as_(Role.ANNOTATOR)
    asked = desk.next(annotator)
    assert asked["task"] == str(second.id)
    desk.submit(annotator, asked, right=False)
    body = {"expected": {"order": [[str(key)] for key in desk.make.response_ids(second)]}, "why": "x"}
    assert desk.owner.put(f"{desk.url}/tasks/{second.id}/gold", json=body).status_code == 409
    assert desk.owner.get(f"{desk.url}/annotators").json()["items"][0]["gold"] == 1
    assert desk.owner.delete(f"{desk.url}/tasks/{second.id}/gold").status_code == 204
    session.refresh(second)
    assert (second.gold, second.overlap) == (True, 0)  # what was said of it stays out of training
    assert desk.owner.get(f"{desk.url}/annotators").json()["items"] == []


def test_the_same_item_sent_again_is_no_change_though_people_answered_it(
    desk: Desk, as_: Clients, every_claim: None
) -> None:
    """As by a client whose first request got no answer."""
    desk.task("plain")
    desk.rules(gold_rate=0.5)
    item, annotator = desk.gold("gold"), as_(Role.ANNOTATOR)
    assert desk.submit(annotator, desk.next(annotator)).status_code == 201
    good, bad = map(str, desk.make.response_ids(item))
    url, sent = f"{desk.url}/tasks/{item.id}/gold", {"expected": {"order": [[good], [bad]]}, "use": "mixed"}
    again = desk.owner.put(url, json=sent | {"why": "Good is better than bad."})
    assert (again.status_code, again.json()["answers"]) == (200, 1)
    changed = desk.owner.put(url, json=sent | {"why": "Because."})
    assert (changed.status_code, changed.json()["type"]) == (409, "urn:rankloop:gold-answered")


def test_gold_answers_never_enter_training(desk: Desk, session: Session, as_: Clients, every_claim: None) -> None:
    desk.gold("gold")
    plain = desk.task("plain")
    desk.rules(gold_rate=0.5)
    annotator = as_(Role.ANNOTATOR)
    desk.submit(annotator, desk.next(annotator))
    with pytest.raises(FreezeError, match="judgements to freeze"):
        freeze_project(session, desk.project.id, desk.project.created_by)
    desk.submit(annotator, desk.next(annotator))
    snapshot = freeze_project(session, desk.project.id, desk.project.created_by)
    lines = session.scalars(select(SnapshotRow.line).where(SnapshotRow.snapshot_id == snapshot.id)).all()
    assert len(lines) == 1
    assert str(plain.id) in lines[0]
    # Votes on a task that becomes gold afterwards leave with it.
    keys = [[str(key)] for key in desk.make.response_ids(plain)]
    desk.owner.put(f"{desk.url}/tasks/{plain.id}/gold", json={"expected": {"order": keys}, "why": "x"})
    with pytest.raises(FreezeError, match="judgements to freeze"):
        freeze_project(session, desk.project.id, desk.project.created_by, DatasetKind.RANKINGS)


# ---------------------------------------------------------------- the entry


def test_the_qualification_set_comes_first_with_a_word_on_each_answer(desk: Desk, as_: Clients) -> None:
    items = [desk.gold(f"entry {number}", "entry") for number in range(3)]
    plain = desk.task("plain", priority=9)
    desk.rules(entry=0.6)
    annotator, told = as_(Role.ANNOTATOR), []
    for number, item in enumerate(items):
        task = desk.next(annotator)
        assert task["task"] == str(item.id)  # in the order in which they were made
        told.append(desk.submit(annotator, task, right=number != 0).json()["feedback"])
    assert [word["correct"] for word in told] == [False, True, True]
    assert told[0]["why"] == "Good is better than bad."
    assert desk.next(annotator)["task"] == str(plain.id)  # two of three are enough for 0.6
    entered = desk.owner.get(f"{desk.url}/annotators").json()["items"]
    assert [row["entered_at"] is not None for row in entered] == [True]


def test_who_does_not_pass_is_told_and_can_be_let_in(desk: Desk, person: Any, as_: Clients) -> None:
    for number in range(2):
        desk.gold(f"entry {number}", "entry")
    desk.task("plain")
    desk.rules(entry=1.0)
    someone = person(Role.ANNOTATOR)
    annotator = as_(someone)
    desk.submit(annotator, desk.next(annotator), right=False)
    desk.submit(annotator, desk.next(annotator))
    refusal = annotator.post(f"{desk.url}/next")
    assert refusal.status_code == 409
    assert refusal.json()["type"] == "urn:rankloop:paused"
    assert "qualification set was not passed" in refusal.json()["detail"]
    assert desk.owner.post(f"{desk.url}/annotators/{someone.id}:resume").status_code == 204
    assert desk.next(annotator)


def test_who_has_just_the_share_right_is_let_in(desk: Desk, as_: Clients) -> None:
    """0.56 times 25 is a little more than 14."""
    for number in range(25):
        desk.gold(f"entry {number}", "entry")
    plain = desk.task("plain")
    desk.rules(entry=0.56)
    annotator = as_(Role.ANNOTATOR)
    for number in range(25):
        desk.submit(annotator, desk.next(annotator), right=number < 14)
    assert desk.next(annotator)["task"] == str(plain.id)


def test_who_skips_the_whole_set_is_not_let_in(desk: Desk, as_: Clients) -> None:
    desk.gold("entry", "entry")
    desk.task("plain")
    desk.rules(entry=0.5)
    annotator = as_(Role.ANNOTATOR)
    held = desk.next(annotator)
    annotator.post(f"/v1/assignments/{held['assignment']}:skip", json={"reason": "x"})
    assert annotator.post(f"{desk.url}/next").status_code == 409


def test_a_set_that_has_no_items_cannot_be_asked(desk: Desk) -> None:
    answer = desk.owner.patch(f"{desk.url}/quality", json={"entry": 0.5})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/entry"


# ---------------------------------------------------------------- the bar


def work_through_gold(desk: Desk, client: TestClient, count: int, *, right: bool) -> int:
    """Answers until there is no more, or the person is paused."""
    for done in range(count):
        task = desk.next(client)
        if not task:
            return done
        desk.submit(client, task, right=right)
    return count


def test_a_person_below_the_bar_is_paused_and_open_work_comes_back(
    desk: Desk, session: Session, person: Any, as_: Clients, every_claim: None
) -> None:
    for number in range(8):
        desk.gold(f"gold {number}")
    plain, _ = desk.task("plain", priority=1), desk.task("another")
    someone = person(Role.ANNOTATOR)
    careless, careful = as_(someone), as_(Role.ANNOTATOR)
    desk.rules(bar=0.7)
    in_hand = desk.next(careless)  # an ordinary task, kept while gold is answered ahead
    assert in_hand["task"] == str(plain.id)
    desk.rules(gold_rate=0.5)
    for _ in range(5):
        ahead = careless.post(f"{desk.url}/next", params={"besides": in_hand["assignment"]}).json()
        assert desk.submit(careless, ahead, right=False).status_code == 201
    refusal = careless.post(f"{desk.url}/next")
    assert (refusal.status_code, refusal.json()["type"]) == (409, "urn:rankloop:paused")
    assert "gold" not in refusal.json()["detail"]  # which tasks were gold stays unknown
    row = session.get_one(Assignment, uuid.UUID(in_hand["assignment"]), populate_existing=True)
    assert row.state is AssignmentState.EXPIRED
    assert desk.submit(careless, in_hand).status_code == 409  # nor is it answered late
    shown = {each["id"]: each for each in desk.owner.get(f"{desk.url}/annotators").json()["items"]}
    found = shown[str(someone.id)]
    assert (found["gold"], found["correct"], found["paused_by_rule"]) == (5, 0, True)
    assert found["reason"] == "0 of 5 gold items were right; the bar is 70%."
    low, high = found["accuracy_ci95"]
    assert low == 0.0 < high < 0.5
    assert work_through_gold(desk, careful, 12, right=True) == 10  # all gold, and both tasks
    assert desk.owner.post(f"{desk.url}/annotators/{someone.id}:resume").status_code == 204
    again = careless.post(f"{desk.url}/next")
    assert again.status_code == 200  # the five count no more
    desk.submit(careless, again.json(), right=False)
    assert careless.post(f"{desk.url}/next").status_code == 200


def test_nobody_is_paused_without_a_bar(desk: Desk, as_: Clients, every_claim: None) -> None:
    for number in range(8):
        desk.gold(f"gold {number}")
    desk.task("plain")
    desk.rules(gold_rate=0.5)
    careless = as_(Role.ANNOTATOR)
    assert work_through_gold(desk, careless, 9, right=False) == 9


def test_only_the_first_answer_counts(desk: Desk, as_: Clients, every_claim: None) -> None:
    desk.gold("gold")
    desk.task("plain")
    desk.rules(gold_rate=0.5)
    annotator = as_(Role.ANNOTATOR)
    task = desk.next(annotator)
    first = desk.submit(annotator, task, right=False).json()
    body = {
        "id": str(uuid.uuid4()), "assignment": task["assignment"], "supersedes": first["id"],
        "payload": {"groups": list(reversed(first["payload"]["groups"]))},
    }  # fmt: skip
    assert annotator.post("/v1/submissions", json=body).status_code == 201
    shown = desk.owner.get(f"{desk.url}/annotators").json()["items"][0]
    assert (shown["gold"], shown["correct"]) == (1, 0)


def test_a_freeze_says_whether_paused_people_are_in(desk: Desk, session: Session, person: Any, as_: Clients) -> None:
    desk.task("one")
    someone = person(Role.ANNOTATOR)
    for client in (as_(someone), as_(Role.ANNOTATOR)):
        desk.submit(client, desk.next(client))
    body = {"project": str(desk.project.id), "kind": "rankings"}
    before = desk.owner.post("/v1/snapshots", json=body).json()
    assert (before["rows"], "paused" in before["sources"]) == (2, False)
    pause = desk.owner.post(f"{desk.url}/annotators/{someone.id}:pause", json={"reason": "We talk first."})
    assert pause.status_code == 204
    out = desk.owner.post("/v1/snapshots", json=body).json()
    assert (out["rows"], out["sources"]["paused"]) == (1, "out")
    back = desk.owner.post("/v1/snapshots", json=body | {"paused": "in"}).json()
    assert back["id"] == before["id"]  # the same content as ever
    assert session.scalar(select(func.count()).select_from(SnapshotRow).where(
        SnapshotRow.snapshot_id == uuid.UUID(out["id"])
    )) == 1  # fmt: skip


def test_who_makes_gold_while_others_count_is_told_to_try_again(
    desk: Desk, session: Session, engine: Engine, browser_of: Clients
) -> None:
    task, answers = desk.task("plain"), []
    session.execute(text("SET LOCAL lock_timeout = '50ms'"))
    page = f"/projects/{desk.project.id}/review/tasks/{task.id}/gold"
    with engine.begin() as counting:
        counting.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": Lock.TALLIES})
        answers.append(browser_of(Role.REVIEWER).post(page, data={"order": "A > B", "why": "So.", "use": "mixed"}))
    answers.append(browser_of(Role.REVIEWER).post(page, data={"order": "A > B", "why": "So.", "use": "mixed"}))
    assert [answer.status_code for answer in answers] == [503, 303]
    assert "Others hold what this needs. Nothing was changed" in answers[0].text
