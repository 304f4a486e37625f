"""Work ahead and in between: the prefetched task, drafts, and the limit of a day."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from annotation_api.db.forms import Question, QuestionsForm, RankingForm, Rule, RulesForm
from annotation_api.db.tables import Assignment, AssignmentState, Draft, FeedbackKind, Role, Submission


def fill(make, tasks: int, **fields):
    project = make.project(**fields)
    for number in range(tasks):
        make.task(make.prompt(project, f"question {number}"))
    return project


def ask(client, project, besides: str | None = None):
    return client.post(f"/v1/projects/{project.id}/next", params={"besides": besides} if besides else None)


def submit(client, task: dict, **more):
    body = {
        "id": str(uuid.uuid4()),
        "assignment": task["assignment"],
        "payload": {"groups": [[response["id"]] for response in task["responses"]]},
    }
    return client.post("/v1/submissions", json=body | more)


# ---------------------------------------------------------------- prefetch


def test_the_next_task_can_be_fetched_ahead_but_no_third(as_, make, session: Session) -> None:
    project, annotator = fill(make, 4), as_(Role.ANNOTATOR)
    first = ask(annotator, project).json()
    ahead = ask(annotator, project, besides=first["assignment"]).json()
    assert ahead["assignment"] != first["assignment"]
    for _ in range(2):  # the one ahead again, prolonged
        again = ask(annotator, project, besides=first["assignment"]).json()
        assert again["assignment"] == ahead["assignment"]
        assert again["lease_until"] > ahead["lease_until"]
    assert ask(annotator, project).json()["assignment"] == first["assignment"]  # the older one, as before
    assert ask(annotator, project, besides=str(uuid.uuid4())).json()["assignment"] == first["assignment"]
    leased = select(func.count()).select_from(Assignment).where(Assignment.state == AssignmentState.LEASED)
    assert session.scalar(leased) == 2
    assert submit(annotator, first).status_code == 201
    assert ask(annotator, project).json()["assignment"] == ahead["assignment"]


def test_a_page_that_was_left_behind_gets_its_prefetched_task(as_, make) -> None:
    """`besides` names what is submitted meanwhile."""
    project, annotator = fill(make, 3), as_(Role.ANNOTATOR)
    first = ask(annotator, project).json()
    ahead = ask(annotator, project, besides=first["assignment"]).json()
    submit(annotator, first)
    assert ask(annotator, project, besides=first["assignment"]).json()["assignment"] == ahead["assignment"]


def test_nothing_besides_the_last_task(as_, make) -> None:
    project, annotator = fill(make, 1), as_(Role.ANNOTATOR)
    first = ask(annotator, project).json()
    assert ask(annotator, project, besides=first["assignment"]).status_code == 204


# ---------------------------------------------------------------- all kinds


def test_each_kind_is_handed_out_with_its_form(as_, make) -> None:
    asked = QuestionsForm(questions=(Question(id="good", text="Is it good?", kind="yes_no"),))
    rules = RulesForm(rules=(Rule(id="kind", text="Be kind."), Rule(id="true", text="Be true.")))
    project = make.project(forms=[RankingForm(), asked, rules])
    make.task(make.prompt(project, "a"), priority=3)
    make.task(make.prompt(project, "b"), ("one",), kind=FeedbackKind.QUESTIONS, priority=2)
    make.task(make.prompt(project, "c"), ("one",), kind=FeedbackKind.RULES, rules=["true"], priority=1)
    annotator, answers = as_(Role.ANNOTATOR), {}
    answers["questions"] = {"answers": {"good": False}}
    answers["rules"] = {"verdicts": {"true": "kept"}}
    for kind in ("ranking", "questions", "rules"):
        task = ask(annotator, project).json()
        assert (task["kind"], task["form"]["kind"]) == (kind, kind)
        assert task["rules"] == (["true"] if kind == "rules" else None)
        more = {"kind": kind, "payload": answers[kind]} if kind in answers else {}
        answer = submit(annotator, task, **more)
        assert answer.status_code == 201, answer.text
        assert answer.json()["kind"] == kind
    assert ask(annotator, project).status_code == 204


# ---------------------------------------------------------------- drafts


def test_a_draft_is_kept_until_the_answer_and_is_none(as_, make, session: Session) -> None:
    project, annotator = fill(make, 1), as_(Role.ANNOTATOR)
    task = ask(annotator, project).json()
    assert task["draft"] is None
    path = f"/v1/assignments/{task['assignment']}/draft"
    for payload in ({"note": "hm"}, {"note": "hmm", "ranks": {"A": "1"}}):
        assert annotator.put(path, json={"payload": payload}).status_code == 204
        assert ask(annotator, project).json()["draft"] == payload
    assert session.scalar(select(func.count()).select_from(Submission)) == 0
    assert submit(annotator, task).status_code == 201
    assert session.scalar(select(func.count()).select_from(Draft)) == 0
    late = annotator.put(path, json={"payload": {}})
    assert (late.status_code, late.json()["type"]) == (409, "urn:rankloop:assignment-closed")


def test_a_draft_needs_ones_own_lease(as_, make, session: Session) -> None:
    project, annotator = fill(make, 1), as_(Role.ANNOTATOR)
    task = ask(annotator, project).json()
    path = f"/v1/assignments/{task['assignment']}/draft"
    assert as_(Role.ANNOTATOR).put(path, json={"payload": {}}).status_code == 404
    session.execute(update(Assignment).values(lease_until=func.clock_timestamp() - timedelta(seconds=1)))
    assert annotator.put(path, json={"payload": {}}).status_code == 204  # nobody took the place yet
    assert ask(as_(Role.ANNOTATOR), project).status_code == 200
    late = annotator.put(path, json={"payload": {}})
    assert (late.status_code, late.json()["type"]) == (409, "urn:rankloop:lease-ended")


# ---------------------------------------------------------------- the limit of a day


def test_the_limit_of_a_day_counts_what_is_in_hand(as_, make) -> None:
    project, annotator = fill(make, 5, daily_limit=2), as_(Role.ANNOTATOR)
    first = ask(annotator, project).json()
    submit(annotator, first)
    second = ask(annotator, project).json()
    ahead = ask(annotator, project, besides=second["assignment"])
    assert (ahead.status_code, ahead.json()["type"]) == (409, "urn:rankloop:daily-limit")
    assert ask(annotator, project).json()["assignment"] == second["assignment"]  # what is in hand may be finished
    assert submit(annotator, second).status_code == 201
    over = ask(annotator, project)
    assert (over.status_code, over.json()["type"]) == (409, "urn:rankloop:daily-limit")
    assert "2 tasks a day" in over.json()["detail"]
    assert ask(as_(Role.ANNOTATOR), project).status_code == 200  # others go on


def test_a_task_that_was_lost_to_another_counts_no_more_for_the_limit(as_, make, session: Session) -> None:
    """Nobody marked the lease as run out: late work took the place, which claims nothing."""
    project, slow, quick = fill(make, 2, daily_limit=1), as_(Role.ANNOTATOR), as_(Role.ANNOTATOR)
    ran_out = update(Assignment).values(lease_until=func.now() - timedelta(seconds=1))
    late = ask(slow, project).json()
    session.execute(ran_out)
    lost = ask(quick, project).json()
    assert lost["task"] == late["task"]
    session.execute(ran_out)
    assert submit(slow, late).status_code == 201
    other = ask(quick, project)
    assert other.status_code == 200, other.text
    assert other.json()["task"] != lost["task"]


def test_yesterday_and_corrections_do_not_count(as_, make, session: Session) -> None:
    project, annotator = fill(make, 3, daily_limit=2), as_(Role.ANNOTATOR)
    task = ask(annotator, project).json()
    sent = submit(annotator, task).json()
    assert submit(annotator, task, supersedes=sent["id"]).status_code == 201
    assert ask(annotator, project).status_code == 200
    submit(annotator, ask(annotator, project).json())
    assert ask(annotator, project).status_code == 409
    session.connection().exec_driver_sql("ALTER TABLE submissions DISABLE TRIGGER USER")
    session.execute(update(Submission).values(created_at=func.now() - timedelta(days=1)))
    assert ask(annotator, project).status_code == 200


# ---------------------------------------------------------------- the time for a task


@pytest.mark.parametrize("seconds", [300, 60])
def test_a_lease_lasts_as_the_project_says(as_, make, session: Session, seconds: int) -> None:
    project = fill(make, 1, **({} if seconds == 300 else {"lease_seconds": seconds}))
    task = ask(as_(Role.ANNOTATOR), project).json()
    left = func.extract("epoch", Assignment.lease_until - func.clock_timestamp())
    found = session.scalar(select(left).where(Assignment.id == uuid.UUID(task["assignment"])))
    assert seconds - 5 < found <= seconds
