"""Review over HTTP: answers read, approved, sent back; tasks decided; messages and what waits for whom."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from annotation_api.annotation.review import service
from annotation_api.annotation.review.schemas import NewReview
from annotation_api.annotation.submissions import service as submissions
from annotation_api.annotation.submissions.schemas import NewRanking
from annotation_api.db.tables import (
    Assignment,
    AssignmentState,
    Draft,
    Person,
    ReviewOutcome,
    Role,
    SnapshotRow,
    Submission,
)
from annotation_api.http.errors import ApiError

Clients = Callable[..., TestClient]


class Room:
    """A project in which two people judged one task, differently."""

    def __init__(self, session: Session, make: Any, as_: Clients, person: Any) -> None:
        self.session, self.make = session, make
        self.owner = make.person(Role.ENGINEER)
        self.project = make.project(self.owner)
        self.url = f"/v1/projects/{self.project.id}"
        self.task = make.task(make.prompt(self.project, "Which is it?"), ("four", "five"), overlap=3)
        self.people = [person(Role.ANNOTATOR) for _ in range(2)]
        self.keys = [str(key) for key in make.response_ids(self.task)]
        self.answers = [
            self.answer(self.people[0], [[0], [1]], active_ms=40_000, payload={"note": "because"}),
            self.answer(self.people[1], [[1], [0]], active_ms=900, payload={"flags": {self.keys[0]: ["unsafe"]}}),
        ]
        self.task.judged = 2
        session.commit()
        self.reviewer = as_(Role.REVIEWER)

    def answer(self, who: Any, groups: list[list[int]], **fields: Any) -> Submission:
        seen = list(reversed(self.keys))
        held = self.make.assignment(self.task, who, display_order=seen)
        row: Submission = self.make.submission(self.task, groups, assignment_id=held.id, **fields)
        return row

    def listed(self, **wanted: Any) -> list[str]:
        answer = self.reviewer.get(f"{self.url}/answers", params=wanted)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    def frozen(self, client: TestClient, **choice: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        body = {"project": str(self.project.id), "kind": "rankings"} | choice
        snapshot = client.post("/v1/snapshots", json=body).json()
        query = select(SnapshotRow.line).where(SnapshotRow.snapshot_id == uuid.UUID(snapshot["id"]))
        return snapshot, [json.loads(line) for line in self.session.scalars(query.order_by(SnapshotRow.position))]


@pytest.fixture
def room(session: Session, make: Any, as_: Clients, person: Any) -> Room:
    return Room(session, make, as_, person)


def test_an_answer_is_read_with_what_its_annotator_saw(room: Room) -> None:
    first = room.answers[0]
    shown = room.reviewer.get(f"{room.url}/answers/{first.id}").json()
    assert [each["text"] for each in shown["responses"]] == ["five", "four"]  # as it was displayed
    assert shown["annotator"] == room.people[0].pseudonym
    assert shown["name"] is None
    assert (shown["active_ms"], shown["payload"]["note"], shown["review"]) == (40_000, "because", None)
    assert room.reviewer.get(f"/v1/projects/{room.make.project().id}/answers/{first.id}").status_code == 404


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, {0, 1}),
        ({"flag": "unsafe"}, {1}),
        ({"flag": "pii"}, set()),
        ({"noted": True}, {0}),
        ({"faster": 1}, {1}),
        ({"slower": 30}, {0}),
        ({"prompt": "WHICH"}, {0, 1}),
        ({"prompt": "%"}, set()),
        ({"prompt": "_hich"}, set()),
        ({"prompt": "role"}, set()),  # a field's name is no word in it
        ({"disagrees": True}, {0, 1}),
        ({"reviewed": "open"}, {0, 1}),
        ({"reviewed": "approved"}, set()),
        ({"since": "2020-01-01T00:00:00Z"}, {0, 1}),
        ({"until": "2020-01-01T00:00:00Z"}, set()),
    ],
)
def test_answers_are_found_by_what_is_asked(room: Room, wanted: dict[str, Any], found: set[int]) -> None:
    assert set(room.listed(**wanted)) == {str(room.answers[place].id) for place in found}


def test_answers_are_found_by_their_person_and_a_corrected_one_is_gone(room: Room) -> None:
    first = room.answers[0]
    correction = room.make.submission(room.task, [[1], [0]], assignment_id=first.assignment_id, supersedes=first.id)
    room.session.commit()
    assert room.listed(annotator=room.people[0].pseudonym) == [str(correction.id)]
    assert room.listed(disagrees=True) == []


def test_names_are_shown_when_an_admin_lifts_the_pseudonyms(room: Room, as_: Clients) -> None:
    page, engineer, admin = f"{room.url}/answers/{room.answers[0].id}", as_(Role.ENGINEER), as_(Role.ADMIN)
    assert admin.get(page).json()["name"] == room.people[0].name
    assert engineer.patch(f"{room.url}/quality", json={"names_shown": True}).status_code == 403
    assert admin.patch(f"{room.url}/quality", json={"names_shown": True}).status_code == 200
    assert room.reviewer.get(page).json()["name"] == room.people[0].name
    assert engineer.get(page).json()["name"] is None
    assert engineer.patch(f"{room.url}/quality", json={"gold_rate": 0.1}).status_code == 200  # it stays as it was


def test_an_answer_is_approved_or_sent_back_with_a_comment(room: Room, as_: Clients) -> None:
    first = room.answers[0]
    url = f"{room.url}/answers/{first.id}:review"
    assert room.reviewer.post(url, json={"outcome": "sent_back"}).status_code == 422  # without a word on what
    sent = room.reviewer.post(url, json={"outcome": "sent_back", "comment": "Four is right, is it not?"})
    assert sent.status_code == 201, sent.text
    assert (sent.json()["review"]["outcome"], sent.json()["comments"]) == ("sent_back", 1)
    assert room.listed(reviewed="sent_back") == [str(first.id)]
    annotator = as_(room.people[0])
    (waits,) = annotator.get("/v1/me/waiting").json()["items"]
    assert (waits["text"], waits["asks"]) == ("Four is right, is it not?", False)
    assert as_(room.people[1]).get("/v1/me/waiting").json()["items"] == []
    # A correction is a new answer, which nobody has looked at.
    body = {
        "id": str(uuid.uuid4()), "assignment": str(first.assignment_id), "supersedes": str(first.id),
        "payload": {"groups": [[room.keys[0]], [room.keys[1]]]},
    }  # fmt: skip
    assert annotator.post("/v1/submissions", json=body).status_code == 201
    assert body["id"] in room.listed(reviewed="open")
    assert room.reviewer.post(url, json={"outcome": "approved"}).status_code == 409
    assert (
        room.reviewer.post(f"{room.url}/answers/{body['id']}:review", json={"outcome": "approved"}).status_code == 201
    )
    assert room.listed(reviewed="approved") == [body["id"]]


def test_a_review_waits_for_a_correction_that_is_on_its_way(fresh_engine: Engine, factory: Any) -> None:
    """It is not of an answer that nobody can see any more."""
    with Session(fresh_engine, expire_on_commit=False) as session:
        make = factory(session)
        answer, reviewer = (
            make.submission(make.task(make.prompt(make.project())), [[0], [1]]),
            make.person(Role.REVIEWER),
        )
        session.commit()
    with Session(fresh_engine) as correcting, Session(fresh_engine) as reviewing:
        author = correcting.get_one(Person, answer.person_id)
        new = {"id": uuid.uuid4(), "assignment": answer.assignment_id, "supersedes": answer.id}
        sent = NewRanking.model_validate(new | {"payload": {"groups": answer.payload["groups"]}})
        submissions.submit(correcting, author, sent)
        reviewing.execute(text("SET LOCAL lock_timeout = '50ms'"))
        approved = NewReview(outcome=ReviewOutcome.APPROVED)
        with pytest.raises(DBAPIError, match="lock timeout"):
            service.review(reviewing, reviewer, answer.project_id, answer.id, approved)
        reviewing.rollback()
        correcting.commit()
        with pytest.raises(ApiError, match="corrected meanwhile"):
            service.review(reviewing, reviewer, answer.project_id, answer.id, approved)


def test_nobody_reviews_an_own_answer(room: Room, as_: Clients, person: Any) -> None:
    me = person(Role.REVIEWER)
    own = room.answer(me, [[0, 1]])
    room.session.commit()
    answer = as_(me).post(f"{room.url}/answers/{own.id}:review", json={"outcome": "approved"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:rankloop:own-answer")


def test_the_most_disputed_tasks_come_first_and_drafts_stand_apart(room: Room, make: Any, person: Any) -> None:
    agreed = make.task(make.prompt(room.project, "Agreed?"), overlap=2, judged=2)
    for _ in range(2):
        make.submission(agreed, [[0], [1]])
    half = make.task(make.prompt(room.project, "Half?"), overlap=2, judged=2)
    make.submission(half, [[0], [1]])
    make.submission(half, [[0, 1]])
    leased = make.assignment(room.task, person(Role.ANNOTATOR), state=AssignmentState.LEASED)
    room.session.add(Draft(assignment_id=leased.id, payload={"fields": [["note", "so far"]]}))
    room.session.commit()
    found = room.reviewer.get(f"{room.url}/disputed").json()
    assert found["looked_at"] == 3
    assert [(each["task"], each["disagreement"]) for each in found["items"]] == [
        (str(room.task.id), 1.0),
        (str(half.id), 0.5),
    ]
    side = room.reviewer.get(f"{room.url}/tasks/{room.task.id}/answers").json()
    assert [each["id"] for each in side["answers"]] == [str(row.id) for row in room.answers]
    assert [each["payload"] for each in side["drafts"]] == [{"fields": [["note", "so far"]]}]
    assert (side["disagreement"], side["decision"]) == (1.0, None)


def decide(room: Room, groups: list[list[str]], client: TestClient | None = None, **more: Any) -> Any:
    url = f"{room.url}/tasks/{room.task.id}:decide"
    return (client or room.reviewer).post(url, json={"payload": {"groups": groups, "note": "Count."}} | more)


def test_a_decision_stands_instead_of_the_votes_beside_them_or_is_ignored(room: Room, as_: Clients) -> None:
    engineer, (four, five) = as_(Role.ENGINEER), room.keys
    votes, _ = room.frozen(engineer)
    assert (votes["rows"], votes["sources"].keys()) == (2, {"project", "last_submission"})
    made = decide(room, [[four], [five]])
    assert made.status_code == 201, made.text
    assert room.reviewer.get(f"{room.url}/disputed").json()["items"] == []  # decided
    instead, lines = room.frozen(engineer)
    assert (instead["rows"], instead["sources"]["adjudicated"]) == (1, "instead")
    assert lines[0]["lineage"]["decision"] == made.json()["id"]
    assert (lines[0]["groups"], lines[0]["rationale"]) == ([[0], [1]], "Count.")
    beside, lines = room.frozen(engineer, adjudicated="beside")
    assert (beside["rows"], beside["sources"]["adjudicated"]) == (3, "beside")
    assert ["submission" in line["lineage"] for line in lines] == [True, True, False]
    ignored, _ = room.frozen(engineer, adjudicated="ignore")
    assert ignored["id"] == votes["id"]
    # Another decision takes the place of the first, and only of the one that was seen.
    stale = decide(room, [[five], [four]])
    assert (stale.status_code, stale.json()["type"]) == (409, "urn:rankloop:decision-stands")
    newer = decide(room, [[five], [four]], supersedes=made.json()["id"])
    assert newer.status_code == 201
    _, lines = room.frozen(engineer)
    assert [line["groups"] for line in lines] == [[[1], [0]]]


def test_a_decision_is_an_answer_to_the_task_and_reviewers_make_it(room: Room, as_: Clients) -> None:
    wrong = decide(room, [[room.keys[0]]])
    assert wrong.status_code == 422
    assert "Not ranked yet" in wrong.json()["errors"][0]["message"]
    nonsense = room.reviewer.post(f"{room.url}/tasks/{room.task.id}:decide", json={"payload": {"order": []}})
    assert nonsense.status_code == 422
    assert decide(room, [[key] for key in room.keys], as_(Role.ENGINEER)).status_code == 403
    assert decide(room, [[key] for key in room.keys], as_(Role.ANNOTATOR)).status_code == 403
    assert room.session.get_one(Assignment, room.answers[0].assignment_id).state is AssignmentState.SUBMITTED


def test_a_question_from_a_task_waits_for_the_owner_until_it_is_answered(room: Room, as_: Clients) -> None:
    annotator, owner, stranger = as_(room.people[0]), as_(room.owner), as_(room.people[1])
    url = f"/v1/assignments/{room.answers[0].assignment_id}/comments"
    assert annotator.post(url, json={"text": "What is five?"}).status_code == 201
    assert stranger.get(url).status_code == 404
    assert stranger.post(url, json={"text": "Me too"}).status_code == 404
    assert [each["text"] for each in owner.get("/v1/me/waiting").json()["items"]] == ["What is five?"]
    assert as_(Role.ENGINEER).get("/v1/me/waiting").json()["items"] == []  # neither owner nor member
    assert len(as_(Role.ADMIN).get("/v1/me/waiting").json()["items"]) == 1
    told = owner.post(url, json={"text": "A number."}).json()
    assert [(each["text"], each["asks"], each["own"]) for each in told["items"]] == [
        ("What is five?", True, False),
        ("A number.", False, True),
    ]
    assert owner.get("/v1/me/waiting").json()["items"] == []
    assert [each["text"] for each in annotator.get("/v1/me/waiting").json()["items"]] == ["A number."]
    assert annotator.post(f"{url}:settle").status_code == 204
    assert annotator.get("/v1/me/waiting").json()["items"] == []


def test_an_answer_to_a_comment_waits_for_the_reviewer_who_wrote_it(room: Room, as_: Clients) -> None:
    """Also in an open project, where reviewers are no members."""
    annotator, other = as_(room.people[0]), as_(Role.REVIEWER)
    url = f"/v1/assignments/{room.answers[0].assignment_id}/comments"
    assert room.reviewer.post(url, json={"text": "Four, is it not?"}).status_code == 201
    assert annotator.post(url, json={"text": "It is."}).status_code == 201
    assert [each["text"] for each in room.reviewer.get("/v1/me/waiting").json()["items"]] == ["It is."]
    assert other.get("/v1/me/waiting").json()["items"] == []


def test_a_comment_without_words_is_refused(room: Room, as_: Clients) -> None:
    url = f"/v1/assignments/{room.answers[0].assignment_id}/comments"
    for words in ("", "   ", "a\0b"):
        assert as_(room.people[0]).post(url, json={"text": words}).status_code == 422


@pytest.mark.parametrize("words", ['say "HI"', "\\back", "two\nlines", "50%_", "ü \u2028 树"])
def test_answers_are_found_by_the_very_words_of_their_prompt(room: Room, words: str) -> None:
    task = room.make.task(room.make.prompt(room.project, f"Please: {words.lower()}!"), ("four", "five"))
    answer = room.make.submission(task, [[0], [1]])
    room.session.commit()
    assert room.listed(prompt=words) == [str(answer.id)]
