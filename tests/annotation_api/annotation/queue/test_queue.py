"""The queue: leases, places, skips, and the order in which responses stand."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from annotation_api.annotation.queue import service
from annotation_api.annotation.tasks import queries
from annotation_api.annotation.tasks.contents import display_order
from annotation_api.annotation.tasks.schemas import AssignmentOut
from annotation_api.db.tables import Assignment, AssignmentState, Role


def next_of(client, project) -> dict:
    answer = client.post(f"/v1/projects/{project.id}/next")
    return answer.json() if answer.status_code == 200 else {}


def submit(client, task: dict, **more):
    body = {
        "id": str(uuid.uuid4()),
        "assignment": task["assignment"],
        "payload": {"groups": [[response["id"]] for response in task["responses"]]},
    }
    return client.post("/v1/submissions", json=body | more)


def run_out(session: Session, assignment: str) -> None:
    session.execute(
        update(Assignment)
        .where(Assignment.id == uuid.UUID(assignment))
        .values(lease_until=func.clock_timestamp() - timedelta(seconds=1))
    )
    session.expire_all()


def test_the_task_in_hand_comes_again_until_it_is_done(as_, make) -> None:
    project, annotator = make.project(), as_(Role.ANNOTATOR)
    for text in ("one", "two"):
        make.task(make.prompt(project, text))
    first, again = next_of(annotator, project), next_of(annotator, project)
    assert first["assignment"] == again["assignment"]
    assert first["responses"] == again["responses"]  # the stored order
    assert again["lease_until"] > first["lease_until"]  # asking again prolongs it
    assert set(first) == set(AssignmentOut.model_fields)
    assert set(first["responses"][0]) == {"id", "text"}
    assert submit(annotator, first).status_code == 201
    assert next_of(annotator, project)["task"] != first["task"]


def test_a_person_judges_a_task_once_and_overlap_people_judge_it(as_, make) -> None:
    project = make.project()
    make.task(make.prompt(project), overlap=2)
    one, two, three = (as_(Role.ANNOTATOR) for _ in range(3))
    submit(one, next_of(one, project))
    assert next_of(one, project) == {}
    held = next_of(two, project)
    assert held
    assert next_of(three, project) == {}  # one judged, one lease runs: no place is left
    submit(two, held)
    assert next_of(three, project) == {}


def test_priority_comes_first(as_, make) -> None:
    project = make.project()
    make.task(make.prompt(project, "low"), priority=-1)
    make.task(make.prompt(project, "high"), priority=5)
    make.task(make.prompt(project, "middle"))
    annotator, seen = as_(Role.ANNOTATOR), []
    while task := next_of(annotator, project):
        seen.append(task["prompt"]["messages"][0]["content"])
        submit(annotator, task)
    assert seen == ["high", "middle", "low"]


def test_a_skipped_task_goes_to_others_but_not_back(as_, make, session: Session) -> None:
    project = make.project()
    make.task(make.prompt(project))
    one, two = as_(Role.ANNOTATOR), as_(Role.ANNOTATOR)
    task = next_of(one, project)
    path = f"/v1/assignments/{task['assignment']}:skip"
    assert one.post(path, json={"reason": " "}).status_code == 422
    assert one.post(path, json={"reason": "not my language"}).status_code == 204
    assert one.post(path, json={"reason": "again"}).status_code == 204
    assert session.get_one(Assignment, uuid.UUID(task["assignment"])).skip_reason == "not my language"
    assert next_of(one, project) == {}
    assert submit(one, task).status_code == 409
    assert next_of(two, project)["task"] == task["task"]


def test_a_lease_that_ran_out_frees_its_place(as_, make, session: Session) -> None:
    project = make.project()
    make.task(make.prompt(project))
    slow, quick = as_(Role.ANNOTATOR), as_(Role.ANNOTATOR)
    task = next_of(slow, project)
    assert next_of(quick, project) == {}
    run_out(session, task["assignment"])
    assert next_of(quick, project)["task"] == task["task"]
    assert session.get_one(Assignment, uuid.UUID(task["assignment"])).state == AssignmentState.EXPIRED
    for late in (submit(slow, task), slow.post(f"/v1/assignments/{task['assignment']}:renew")):
        assert late.status_code == 409
        assert late.json()["type"] == "urn:rankloop:lease-ended"


def test_late_work_is_kept_while_nobody_took_the_place(as_, make, session: Session) -> None:
    project = make.project()
    make.task(make.prompt(project))
    annotator = as_(Role.ANNOTATOR)
    task = next_of(annotator, project)
    run_out(session, task["assignment"])
    assert submit(annotator, task).status_code == 201
    assert next_of(as_(Role.ANNOTATOR), project) == {}


def test_coming_back_late_finds_the_same_task(as_, make, session: Session) -> None:
    project = make.project()
    make.task(make.prompt(project))
    annotator = as_(Role.ANNOTATOR)
    task = next_of(annotator, project)
    run_out(session, task["assignment"])
    assert next_of(annotator, project)["assignment"] == task["assignment"]


def test_the_heartbeat_prolongs_only_ones_own_lease(as_, make) -> None:
    project = make.project(lease_seconds=60)
    make.task(make.prompt(project))
    annotator = as_(Role.ANNOTATOR)
    task = next_of(annotator, project)
    path = f"/v1/assignments/{task['assignment']}:renew"
    renewed = annotator.post(path)
    assert renewed.status_code == 200
    assert renewed.json()["lease_until"] > task["lease_until"]
    assert as_(Role.ANNOTATOR).post(path).status_code == 404
    submit(annotator, task)
    assert annotator.post(path).json()["type"] == "urn:rankloop:assignment-closed"


@pytest.mark.parametrize("k", [2, 4, 5])
def test_each_response_stands_once_in_each_place(k: int) -> None:
    task, responses = uuid.uuid4(), [f"r{i}" for i in range(k)]
    orders = [display_order(task, responses, turn) for turn in range(2 * k)]
    for lap in (orders[:k], orders[k:]):
        for place in range(k):
            assert Counter(order[place] for order in lap) == Counter(responses)
    assert orders[k] == orders[0][::-1]


def test_the_first_showing_is_even_over_tasks() -> None:
    """Chi-square with 3 degrees of freedom; 16.27 is passed by chance once in a thousand. Seeded, so never here."""
    ids = [uuid.UUID(int=i * 2654435761) for i in range(4000)]
    firsts = Counter(display_order(task, ["a", "b", "c", "d"], 0)[0] for task in ids)
    assert sum((firsts[name] - 1000) ** 2 / 1000 for name in "abcd") < 16.27


def test_the_order_shown_is_the_order_stored(as_, make, session: Session) -> None:
    project = make.project(overlap=4)
    task = make.task(make.prompt(project), ("a", "b", "c", "d"), overlap=4)
    for _ in range(4):
        shown = next_of(as_(Role.ANNOTATOR), project)
        row = session.get_one(Assignment, uuid.UUID(shown["assignment"]))
        assert row.display_order == [response["id"] for response in shown["responses"]]
    orders = session.scalars(select(Assignment.display_order).where(Assignment.task_id == task.id)).all()
    assert len({order[0] for order in orders}) == 4


def test_a_task_that_was_let_go_of_after_the_claim_is_no_end(session: Session, make) -> None:
    """Between the claim that finds none and the question of what others hold, a lease may end."""
    project, me, other = make.project(), make.person(Role.ANNOTATOR), make.person(Role.ANNOTATOR)
    task = make.task(make.prompt(project))
    held = make.assignment(task, other, state=AssignmentState.LEASED, lease_until=func.now() + timedelta(hours=1))
    assert service.next_assignment(session, me, project) is None
    tasks, seconds = queries.held_by_others(session, me, project.id)
    assert (tasks, seconds > 3000) == (1, True)
    held.lease_until = func.now()
    session.flush()
    assert queries.held_by_others(session, me, project.id) == (1, 0)
