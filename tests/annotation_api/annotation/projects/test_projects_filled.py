"""Tasks made from data sets: which, how often, and never twice."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from alignment.shared.records import Demonstration, Prompt, Ranking
from annotation_api.annotation.projects import bulk
from annotation_api.annotation.projects.planning import Plan, Skipped, plans_of
from annotation_api.db.forms import QuestionsForm, RankingForm, RulesForm, read_form
from annotation_api.db.tables import DatasetKind, FeedbackKind, PromptRow, ResponseRow, Role, Task, TaskResponse

RULES = RulesForm.model_validate({"rules": [{"id": "one", "text": "One."}, {"id": "two", "text": "Two."}]})
PROBES = RULES.model_copy(update={"probe": True})
ABOUT = {"kind": "questions", "questions": [{"id": "clear", "text": "Is it clear?", "kind": "yes_no"}]}
ONE, PAIR = read_form(ABOUT), read_form(ABOUT | {"about": "pair"})


def ranking(question: str, *texts: str) -> Ranking:
    tied = (tuple(range(len(texts))),)
    return Ranking(prompt=Prompt.from_text(question), responses=texts, groups=tied)


def fill(client: Any, project: Any, dataset: Any, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/projects/{project.id}/tasks:from-dataset", json={"dataset": str(dataset.id), **body})
    assert answer.status_code == 201, answer.text
    times = {"since", "until"}  # the places in the queue
    return {name: value for name, value in answer.json().items() if name not in times}


def shown_texts(session: Session) -> list[list[str]]:
    """The texts of each task, in the order of the queue."""
    tasks = session.scalars(select(Task).order_by(Task.priority.desc(), Task.created_at, Task.id)).all()
    query = select(ResponseRow.text).join(TaskResponse, TaskResponse.response_id == ResponseRow.id)
    return [
        list(session.scalars(query.where(TaskResponse.task_id == task.id).order_by(TaskResponse.position)))
        for task in tasks
    ]


def test_rankings_become_tasks_in_the_files_order_and_once(as_, make, session: Session) -> None:
    engineer, project = as_(Role.ENGINEER), make.project(overlap=3)
    rows = [ranking(f"Question {n}?", "good", "bad", "good") for n in range(5)] + [ranking("Again?", "same", "same")]
    dataset = make.dataset(DatasetKind.RANKINGS, rows)
    first = fill(engineer, project, dataset, priority=2)
    assert first == {
        "tasks": 5,
        "judgements": 15,
        "skipped": 1,
        "reasons": [{"reason": "fewer than two different responses", "times": 1}],
        "drawn": 0,
        "rows": 6,
        "complete": True,
    }
    assert shown_texts(session) == [["good", "bad"]] * 5  # identical responses stand once
    prompts = session.scalars(select(PromptRow).join(Task, Task.prompt_id == PromptRow.id).order_by(Task.created_at))
    assert [row.record["messages"][0]["content"] for row in prompts] == [f"Question {n}?" for n in range(5)]
    task = session.scalars(select(Task)).first()
    assert task is not None
    assert (task.overlap, task.priority, task.kind) == (3, 2, FeedbackKind.RANKING)
    source = session.scalars(select(ResponseRow.sampling)).first()
    assert source is not None
    assert source["dataset"] == str(dataset.id)
    again = fill(engineer, project, dataset)
    assert (again["tasks"], again["skipped"]) == (0, 6)
    assert {"reason": "already a task of this project", "times": 5} in again["reasons"]
    assert fill(engineer, make.project(), dataset)["tasks"] == 5  # another project has its own


def test_a_limit_stops_and_the_next_call_goes_on(as_, make, session: Session) -> None:
    engineer, project = as_(Role.ENGINEER), make.project()
    dataset = make.dataset(DatasetKind.PREFERENCES, [ranking(f"{n}?", "yes", "no") for n in range(7)])
    counts = [fill(engineer, project, dataset, limit=3) for _ in range(3)]
    assert [row["tasks"] for row in counts] == [3, 3, 1]
    assert [row["complete"] for row in counts] == [False, False, True]
    assert session.scalar(select(func.count()).select_from(Task)) == 7


def test_of_many_responses_a_draw_is_stated_and_repeats(as_, make, session: Session) -> None:
    engineer = as_(Role.ENGINEER)
    dataset = make.dataset(DatasetKind.RANKINGS, [ranking("?", *(f"text {n}" for n in range(12)))])
    for _ in range(2):
        assert fill(engineer, make.project(responses_per_task=9), dataset)["drawn"] == 1
    assert fill(engineer, make.project(responses_per_task=9), dataset, responses_per_task=4)["drawn"] == 1
    project = session.scalars(select(Task.project_id)).first()
    assert project is not None
    again = engineer.post(
        f"/v1/projects/{project}/tasks:from-dataset", json={"dataset": str(dataset.id), "responses_per_task": 5}
    )
    assert again.json()["tasks"] == 0  # the same responses, drawn anew, are the same task
    first, second, fewer = shown_texts(session)
    assert len(first) == len(set(first)) == 9
    assert first == second
    assert len(fewer) == 4


@pytest.mark.parametrize(
    ("form", "tasks", "responses"),
    [
        (ONE, 3, [1, 1, 1]),  # a, b and c, once each
        (PAIR, 2, [2, 2]),
        (RULES, 3, [1, 1, 1]),
        (PROBES, 6, [1] * 6),
    ],
)
def test_each_form_gets_its_responses(as_, make, session: Session, form: Any, tasks: int, responses: list[int]) -> None:
    engineer, project = as_(Role.ENGINEER), make.project(forms=[form])
    dataset = make.dataset(DatasetKind.PREFERENCES, [ranking("?", "a", "b"), ranking("?", "b", "c")])
    made = fill(engineer, project, dataset, kind=form.kind)
    assert made["tasks"] == tasks
    assert [len(texts) for texts in shown_texts(session)] == responses
    rules = session.scalars(select(Task.rules).order_by(Task.created_at)).all()
    assert rules == ([["one"], ["two"]] * 3 if form is PROBES else [None] * tasks)
    assert session.scalar(select(func.count()).select_from(ResponseRow)) == 3  # one row for each text


def test_a_demonstration_is_asked_about_but_not_ranked(as_, make) -> None:
    engineer, project = as_(Role.ENGINEER), make.project(forms=[RankingForm(), ONE, RULES])
    record = Demonstration(prompt=Prompt.from_text("?"), response="text")
    dataset = make.dataset(DatasetKind.CONVERSATIONS, [record, record])
    assert fill(engineer, project, dataset, kind="questions")["tasks"] == 1
    assert fill(engineer, project, dataset, kind="rules")["tasks"] == 1
    refused = engineer.post(f"/v1/projects/{project.id}/tasks:from-dataset", json={"dataset": str(dataset.id)})
    assert refused.status_code == 422
    assert "nothing to rank" in refused.json()["detail"]


def test_what_does_not_fit_is_refused_with_the_reason(as_, make) -> None:
    engineer, project = as_(Role.ENGINEER), make.project()
    path = f"/v1/projects/{project.id}/tasks:from-dataset"
    prompts = make.dataset(DatasetKind.PROMPTS, [Prompt.from_text("?")])
    assert "sample job" in engineer.post(path, json={"dataset": str(prompts.id)}).json()["detail"]
    pairs = make.dataset(DatasetKind.PREFERENCES, [ranking("?", "a", "b")])
    detail = engineer.post(path, json={"dataset": str(pairs.id), "kind": "rules"}).json()["detail"]
    assert "it asks for ranking" in detail
    assert engineer.post(path, json={"dataset": str(uuid.uuid4())}).status_code == 404


def test_empty_and_endless_responses_are_counted(as_, make) -> None:
    engineer, project = as_(Role.ENGINEER), make.project()
    rows = [ranking("1?", "a", " "), ranking("2?", "a", "b" * 200_001), ranking("3?", "a", "b")]
    made = fill(engineer, project, make.dataset(DatasetKind.RANKINGS, rows))
    assert made["tasks"] == 1
    assert {row["reason"] for row in made["reasons"]} == {
        "a response is empty",
        "a response is longer than 200000 characters",
    }


def test_batches_change_nothing(as_, make, monkeypatch, session: Session) -> None:
    rows = [ranking(f"{n // 2}?", "a", f"b{n % 3}") for n in range(9)]
    dataset, engineer = make.dataset(DatasetKind.PREFERENCES, rows), as_(Role.ENGINEER)
    whole = fill(engineer, make.project(), dataset)
    monkeypatch.setattr("annotation_api.annotation.projects.bulk.BATCH", 2)
    assert fill(engineer, make.project(), dataset) == whole
    texts = shown_texts(session)
    assert texts[: len(texts) // 2] == texts[len(texts) // 2 :]


@given(texts=st.lists(st.sampled_from("abcdefghijklm"), min_size=2, max_size=12), most=st.integers(2, 9))
def test_a_plan_shows_different_texts_of_the_row_in_its_order(texts: list[str], most: int) -> None:
    (plan,) = plans_of(ranking("?", *texts), RankingForm(), most)
    distinct = list(dict.fromkeys(texts))
    if len(distinct) < 2:
        assert isinstance(plan, Skipped)
        return
    assert isinstance(plan, Plan)
    assert len(plan.texts) == min(most, len(distinct))
    assert [text for text in distinct if text in plan.texts] == list(plan.texts)
    assert bool(plan.of) == (len(distinct) > most)


def test_a_tasks_key_knows_its_content_and_not_its_order() -> None:
    space, prompt = uuid.UUID(int=1), Prompt.from_text("?")
    key = Plan(prompt, ("a", "b")).key(space)
    assert Plan(prompt, ("b", "a")).key(space) == key
    others = [
        Plan(prompt, ("a", "c")).key(space),
        Plan(Prompt.from_text("!"), ("a", "b")).key(space),
        Plan(prompt, ("a", "b")).key(uuid.UUID(int=2)),
        Plan(prompt, ("a", "b"), rule="one").key(space),
    ]
    assert key not in others
    assert isinstance(ONE, QuestionsForm)


def test_one_call_fills_a_project_at_a_time(as_, make, engine: Engine) -> None:
    engineer, project = as_(Role.ENGINEER), make.project()
    dataset = make.dataset(DatasetKind.RANKINGS, [ranking("?", "a", "b")])
    path, body = f"/v1/projects/{project.id}/tasks:from-dataset", {"dataset": str(dataset.id)}
    with Session(engine) as other:
        assert bulk.take_turn(other, project.id)
        busy = engineer.post(path, json=body)
        assert (busy.status_code, busy.json()["type"]) == (409, "urn:rankloop:filling")
    assert engineer.post(path, json=body).status_code == 201


def test_a_retry_with_its_key_gets_the_first_answer(as_, make) -> None:
    engineer, project = as_(Role.ENGINEER), make.project()
    dataset = make.dataset(DatasetKind.RANKINGS, [ranking("?", "a", "b")])
    path, body = f"/v1/projects/{project.id}/tasks:from-dataset", {"dataset": str(dataset.id)}
    answers = [engineer.post(path, json=body, headers={"Idempotency-Key": "once"}).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["tasks"] == 1
