"""Erasing over REST, in pages and on the command line: shown first, for a reason, by those who may."""

from __future__ import annotations

import json
import uuid
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.records import Prompt
from annotation_api.annotation.tasks import contents
from annotation_api.cli.client import Client, Credentials
from annotation_api.cli.commands import quality
from annotation_api.db.erasing import erasures
from annotation_api.db.tables import AuditRow, DatasetKind, Erasure, GoldItem, Job, ProjectMember, Role, Task
from tests.support.planted import WORD, Planted, found


@pytest.fixture
def planted(session: Session, make: Any, tmp_path: Path) -> Planted:
    return Planted(session, make, tmp_path)


def work_off(session: Session, planted: Planted) -> None:
    sessions = sessionmaker(bind=session.connection(), join_transaction_mode="create_savepoint", expire_on_commit=False)
    erasures.work_off(sessions, planted.home)
    session.expire_all()


def test_the_whole_way_over_rest(as_: Any, session: Session, planted: Planted) -> None:
    client, target = as_(Role.ADMIN), {"scope": "record", "task": str(planted.task.id)}
    shown = client.post("/v1/erasures:preview", json=target).json()
    assert (shown["prompts"], shown["answers"], shown["readers"]) == (1, 1, [])
    assert {one["id"] for one in shown["snapshots"]} == {
        str(one.id) for one in (*planted.of_project, planted.of_dataset)
    }
    assert {one["id"] for one in shown["models"]} == {str(planted.model.id), str(planted.child.id)}
    assert not session.scalars(select(Erasure)).all()
    answer = client.post("/v1/erasures", json=target | {"reason": "its author asked"})
    assert answer.status_code == 202
    place = answer.headers["location"]
    assert client.post("/v1/erasures", json=target | {"reason": "again"}).headers["location"] == place
    work_off(session, planted)
    ended = client.get(place).json()
    assert (ended["state"], ended["error"]) == ("succeeded", None)
    assert client.get("/v1/erasures").json()["items"][0]["id"] == ended["id"]
    deed = session.scalars(select(AuditRow).where(AuditRow.action == "POST /v1/erasures")).first()
    assert deed is not None
    assert deed.objects == {"made": place}
    assert found(session, planted.home, WORD) == []
    assert client.get(f"/v1/models/{planted.child.id}").json()["erased"]["rows"] > 0
    assert client.get(f"/v1/models/{planted.child.id}").json()["erased"]["at"]
    marked = client.get(f"/v1/snapshots/{planted.of_dataset.id}/export")
    assert (marked.status_code, marked.json()["type"]) == (409, "urn:rankloop:erased-rows")
    named = {"model": {"model": str(planted.child.id)}, "rankings": {"snapshot": str(planted.of_dataset.id)}}
    checked = client.post("/v1/jobs:validate", json={"stage": "reward", "inputs": named}).json()
    assert any("were erased on" in problem["message"] for problem in checked["problems"])
    again = client.post("/v1/erasures", json=target | {"reason": "again"})
    assert (again.status_code, again.json()["errors"][0]["pointer"]) == (422, "/task")


@pytest.mark.parametrize(
    "target",
    [
        {"scope": "record"},
        {"scope": "record", "task": "T", "dataset": "T", "row": 1},
        {"scope": "record", "task": "T", "dataset": "T"},
        {"scope": "record", "task": "T", "person": "T"},
        {"scope": "record", "task": "T", "part": 1},
        {"scope": "project", "project": "P", "row": 1},
        {"scope": "person", "task": "T"},
        {"scope": "project"},
        {"scope": "record", "task": "T", "reason": ""},
    ],
)
def test_a_target_that_names_nothing_is_refused(as_: Any, planted: Planted, target: dict[str, Any]) -> None:
    sent = json.loads(
        json.dumps(target).replace('"T"', f'"{planted.task.id}"').replace('"P"', f'"{planted.project.id}"')
    )
    answer = as_(Role.ADMIN).post("/v1/erasures", json={"reason": "its author asked"} | sent)
    assert answer.status_code == 422


def test_who_made_a_project_erases_in_it(as_: Any, planted: Planted, make: Any) -> None:
    target = {"scope": "record", "task": str(planted.task.id), "reason": "its author asked"}
    owner, other = as_(planted.owner), as_(Role.ENGINEER)
    assert owner.post("/v1/erasures", json=target).status_code == 403  # everywhere
    within = target | {"project": str(planted.project.id)}
    refused = other.post("/v1/erasures", json=within)
    assert (refused.status_code, "you are neither" in refused.json()["detail"]) == (403, True)
    elsewhere = target | {"project": str(make.project(planted.owner).id)}
    assert owner.post("/v1/erasures", json=elsewhere).status_code == 404  # the task is not in it
    made = owner.post("/v1/erasures", json=within)
    assert made.status_code == 202
    assert other.get(made.headers["location"]).status_code == 404
    assert owner.get(made.headers["location"]).status_code == 200


def test_where_the_last_decision_was_erased_the_votes_count_until_somebody_decides_anew(
    as_: Any, person: Any, session: Session, planted: Planted
) -> None:
    url, other = f"/v1/projects/{planted.project.id}/tasks/{planted.task.id}", person(Role.REVIEWER)
    reviewer, groups = as_(Role.REVIEWER), [[str(key)] for key in planted.make.response_ids(planted.task)]
    first = reviewer.get(f"{url}/answers").json()["decision"]["id"]
    newer = as_(other).post(f"{url}:decide", json={"payload": {"groups": groups}, "supersedes": first})
    assert newer.status_code == 201
    erased = {"scope": "person", "person": str(other.id), "reason": "they asked"}
    assert as_(Role.ADMIN).post("/v1/erasures", json=erased).status_code == 202
    work_off(session, planted)
    assert reviewer.get(f"{url}/answers").json()["decision"] is None
    body = {"project": str(planted.project.id), "kind": "rankings"}
    frozen = as_(Role.ENGINEER).post("/v1/snapshots", json=body).json()
    assert (frozen["rows"], frozen["sources"].get("adjudicated")) == (2, None)  # an answer to each task
    again = reviewer.post(f"{url}:decide", json={"payload": {"groups": groups}})
    assert again.status_code == 201, again.text
    assert reviewer.get(f"{url}/answers").json()["decision"]["id"] == again.json()["id"]


def test_an_answer_kept_for_a_repeat_holds_no_message_of_a_person(
    as_: Any, session: Session, planted: Planted, person: Any, make: Any
) -> None:
    """They asked from a task in hand, and never answered it."""
    asker, word = person(Role.ANNOTATOR), "Hqxasked"
    held = make.assignment(planted.kept_task, asker, state="leased")
    url = f"/v1/assignments/{held.id}/comments"
    assert as_(asker).post(url, json={"text": word}).status_code == 201
    said = as_(Role.REVIEWER).post(url, json={"text": "So it is."}, headers={"Idempotency-Key": "k"})
    assert (said.status_code, word in said.text) == (201, True)
    target = {"scope": "person", "person": str(asker.id), "reason": "they asked"}
    assert as_(Role.ADMIN).post("/v1/erasures", json=target).status_code == 202
    work_off(session, planted)
    assert found(session, planted.home, word) == []


def test_a_row_of_a_data_set_names_a_record(as_: Any, session: Session, planted: Planted) -> None:
    row = {"scope": "record", "dataset": str(planted.dataset.id), "row": 1}
    assert as_(Role.ADMIN).post("/v1/erasures:preview", json=row).json()["prompts"] == 1
    gone = as_(Role.ADMIN).post("/v1/erasures:preview", json=row | {"row": 9})
    assert gone.status_code == 404


def test_a_record_with_calls_of_tools_is_found_in_every_row_that_holds_it(
    as_: Any, session: Session, make: Any
) -> None:
    called = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "Q?"},
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c", "content": "It."},
    ]
    prompt = Prompt.model_validate_json(json.dumps({"messages": turns, "tools": [{"name": "look"}]}))
    rows = [prompt, Prompt.from_text("Another?"), prompt.model_copy(update={"language": "en"})]
    dataset = make.dataset(DatasetKind.PROMPTS, rows)
    session.commit()
    target = {"scope": "record", "dataset": str(dataset.id), "row": 1}
    assert as_(Role.ADMIN).post("/v1/erasures:preview", json=target).json()["dataset_rows"] == 2


def test_a_job_that_reads_it_stands_in_the_way(as_: Any, session: Session, planted: Planted, browser_of: Any) -> None:
    session.execute(update(Job).values(state="paused", finished_at=None))
    target = {"scope": "record", "task": str(planted.task.id)}
    refused = as_(Role.ADMIN).post("/v1/erasures", json=target | {"reason": "its author asked"})
    assert refused.status_code == 409
    assert f"reward job {planted.job.id} (paused)" in refused.json()["detail"]
    page = browser_of(Role.ADMIN).get("/erasures/new", params=target).text
    assert str(planted.job.id) in page
    assert "Erase it for good" not in page


def test_the_pages_lead_to_it_and_say_what_came_of_it(
    browser_of: Any, session: Session, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = browser_of(Role.ADMIN)
    task = f"/projects/{planted.project.id}/tasks/{planted.task.id}"
    way = f"/erasures/new?scope=record&amp;task={planted.task.id}"
    assert way in admin.get(task).text
    assert f"{way}&amp;project=" in browser_of(planted.owner).get(task).text
    assert "/erasures/new" not in browser_of(Role.ENGINEER).get(task).text
    assert (
        f"/erasures/new?scope=project&amp;project={planted.project.id}"
        in admin.get(f"/projects/{planted.project.id}").text
    )
    assert "scope=person" in admin.get(f"/people/{planted.person.id}").text
    given = {"scope": "record", "task": str(planted.task.id)}
    plan = admin.get("/erasures/new", params=given).text
    assert "Nobody can undo this." in plan
    assert planted.model.name in plan
    assert "Say why" in admin.post("/erasures", data=given | {"reason": ""}).text
    place = admin.post("/erasures", data=given | {"reason": "its author asked"}).headers["location"]
    assert 'src="/static/freeze.js"' in admin.get(place).text
    work_off(session, planted)
    monkeypatch.setattr(contents, "KEPT_SECONDS", -1.0)
    contents._contents._kept.clear()
    assert "What was emptied" in admin.get(place).text
    assert "its author asked" in admin.get("/erasures").text
    assert "Made from data of which" in admin.get(f"/models/{planted.child.id}").text
    snapshot = admin.get(f"/snapshots/{planted.of_dataset.id}").text
    assert "neither read nor exported" in snapshot
    assert "export?format" not in snapshot
    for page in (task, f"/projects/{planted.project.id}/tasks", f"/jobs/{planted.job.id}", "/mine"):
        shown = admin.get(page)
        assert (shown.status_code, WORD in shown.text) == (200, False), page
    reviewer = browser_of(Role.REVIEWER)
    shown = reviewer.get(f"/projects/{planted.project.id}/review/tasks/{planted.task.id}")
    assert (shown.status_code, WORD in shown.text) == (200, False)
    assert f"/v1/jobs/{planted.job.id}/artifacts/examples.jsonl" not in admin.get(f"/jobs/{planted.job.id}").text


def test_the_command_shows_first(as_: Any, session: Session, planted: Planted, capsys: Any, monkeypatch: Any) -> None:
    client = Client(Credentials("http://localhost", "key"))
    client.http = as_(Role.ADMIN)
    monkeypatch.setattr(quality.time, "sleep", lambda _seconds: work_off(session, planted))
    args = {"scope": "person", "person": str(planted.person.id), "project": None, "json": True}
    assert quality.erase(client, Namespace(**args, yes=False, reason=None)) == 0
    assert json.loads(capsys.readouterr().out)["answers"] == 1
    assert not session.scalars(select(Erasure)).all()
    assert quality.erase(client, Namespace(**args, yes=True, reason="they left")) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "succeeded"


def test_an_erased_task_stays_out_of_the_queue(as_: Any, session: Session, planted: Planted) -> None:
    admin = as_(Role.ADMIN)
    session.add(ProjectMember(project_id=planted.project.id, person_id=planted.person.id))
    sent = {"scope": "record", "task": str(planted.task.id), "reason": "its author asked"}
    admin.post("/v1/erasures", json=sent)
    work_off(session, planted)
    back = admin.post(f"/v1/projects/{planted.project.id}/tasks:restore", json={"ids": [str(planted.task.id)]})
    assert back.json() == {"tasks": 0}
    given = as_(Role.ANNOTATOR).post(f"/v1/projects/{planted.project.id}/next").json()
    assert given["task"] == str(planted.kept_task.id)


def test_of_an_erased_task_nothing_more_is_said(as_: Any, session: Session, planted: Planted, person: Any) -> None:
    """Neither decided, nor made gold, nor spoken of."""
    task, reviewer = f"/v1/projects/{planted.project.id}/tasks/{planted.task.id}", as_(Role.REVIEWER)
    groups, worker = [[str(key)] for key in planted.make.response_ids(planted.task)], person(Role.ANNOTATOR)
    held = planted.make.assignment(planted.task, worker, state="leased")
    as_(Role.ADMIN).post("/v1/erasures", json={"scope": "record", "task": str(planted.task.id), "reason": "asked"})
    work_off(session, planted)
    gold = {"expected": {"order": groups}, "why": WORD}
    answers = [
        reviewer.post(f"{task}:decide", json={"payload": {"groups": groups, "note": WORD}}),
        reviewer.put(f"{task}/gold", json=gold),
        reviewer.post(f"/v1/assignments/{held.id}/comments", json={"text": WORD}),
        as_(worker).post(f"/v1/assignments/{held.id}/comments", json={"text": WORD}),
    ]
    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [(409, "urn:rankloop:erased")] * 4
    assert found(session, planted.home, WORD) == []


def test_an_erased_gold_item_is_never_an_ordinary_task_again(
    as_: Any, session: Session, planted: Planted, person: Any
) -> None:
    item, worker = session.scalars(select(GoldItem)).one(), person(Role.ANNOTATOR)
    held = planted.make.assignment(session.get_one(Task, item.task_id), worker, state="leased")
    as_(Role.ADMIN).post("/v1/erasures", json={"scope": "record", "task": str(planted.task.id), "reason": "asked"})
    work_off(session, planted)
    groups = [held.display_order]  # all are one text now
    late = {"id": str(uuid.uuid4()), "assignment": str(held.id), "payload": {"groups": groups, "note": WORD}}
    answer = as_(worker).post("/v1/submissions", json=late)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:rankloop:lease-ended")
    url = f"/v1/projects/{planted.project.id}"
    assert as_(Role.ENGINEER).delete(f"{url}/tasks/{item.task_id}/gold").status_code == 204
    annotator = as_(Role.ANNOTATOR)
    assert annotator.post(f"{url}/next").json()["task"] == str(planted.kept_task.id)
    assert found(session, planted.home, WORD) == []
