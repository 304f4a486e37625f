"""Sums that are kept say what counting everything anew says, whatever came in which order."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from alignment.shared.intervals import RatioSums
from alignment.shared.records import Prompt
from annotation_api.db.forms import Option, Question, QuestionsForm, RankingForm
from annotation_api.db.sql import rows
from annotation_api.db.tables import (
    AgreementSum,
    AgreementValue,
    FeedbackKind,
    JudgedDay,
    ModelWin,
    PendingJudgement,
    TaskCount,
    TaskDelta,
)
from annotation_api.db.tallies import judgements
from annotation_api.db.tallies.contributions import contribution
from annotation_api.db.tallies.fold import fold

SHOWS = QuestionsForm(
    about="pair",
    questions=(
        Question(
            id="better",
            text="Which?",
            kind="choice",
            options=(Option(id="first", text="A"), Option(id="second", text="B")),
        ),
    ),
)


def sums_of(session: Session) -> dict[tuple[str, ...], tuple[float, float, int]]:
    session.expire_all()
    return {
        (row.measure, row.subject, row.slice, row.value): (row.total, row.count, row.prompts)
        for row in session.scalars(select(AgreementSum))
        if row.count
    }


@pytest.fixture
def judged(session: Session, make: Any) -> Any:
    """Three people judge the tasks of some prompts; some of them think again."""
    people = [make.person(pseudonym=f"p{n}") for n in range(3)]
    project = make.project(forms=[RankingForm(criterion="helpful"), SHOWS], overlap=3)
    chance = random.Random(0)
    tasks = [
        make.task(make.prompt(project, Prompt.from_text(f"{n}?", language="en")), tuple("abc"), overlap=3)
        for n in range(5)
    ]

    def judge(times: int) -> None:
        for _ in range(times):
            task, person = chance.choice(tasks), chance.choice(people)
            groups: list[list[int]] = [[], [], []]
            for place in range(3):
                groups[chance.randrange(3)].append(place)
            groups = [group for group in groups if group]
            standing = session.execute(
                text(
                    "SELECT s.id, s.assignment_id FROM submissions s JOIN assignments a ON a.id = s.assignment_id "
                    "WHERE a.task_id = :task AND a.person_id = :person ORDER BY seq DESC LIMIT 1"
                ),
                {"task": task.id, "person": person.id},
            ).first()
            again = {"assignment_id": standing.assignment_id, "supersedes": standing.id} if standing else {}
            make.submission(task, groups, person, **again)

    return judge, project, tasks


def test_folded_bit_by_bit_is_counted_at_once(session: Session, judged: Any) -> None:
    judge, _, tasks = judged
    for times in (1, 7, 3, 20):
        judge(times)
        while fold(session, limit=2):
            pass
    counted: dict[tuple[str, ...], list[tuple[float, float, int]]] = defaultdict(list)
    for all_of_it in judgements.of_prompts(session, [task.prompt_id for task in tasks]).values():
        for key, (total, count) in contribution(all_of_it).sums.items():
            counted[tuple(key)].append((total, count, 1))
    expected = {key: RatioSums.over(prompts) for key, prompts in counted.items()}
    found = sums_of(session)
    assert set(found) == set(expected)
    for key, row in found.items():
        assert row == pytest.approx((expected[key].total, expected[key].count, expected[key].prompts))
    assert {key[2] for key in found} == {"all", "criterion", "language", "form", "day", "person", "pair", "majority"}
    assert session.scalars(select(PendingJudgement)).first() is None


def test_days_and_tasks_are_counted(session: Session, judged: Any) -> None:
    judge, project, tasks = judged
    judge(30)
    fold(session)
    days = session.scalars(select(JudgedDay).where(JudgedDay.project_id == project.id)).all()
    submissions, first = session.execute(
        text("SELECT count(*), count(*) FILTER (WHERE supersedes IS NULL) FROM submissions WHERE project_id = :p"),
        {"p": project.id},
    ).one()
    assert (sum(day.tasks + day.corrections for day in days), sum(day.tasks for day in days)) == (submissions, first)
    counted = session.scalars(select(TaskCount).where(TaskCount.project_id == project.id)).one()
    assert (counted.tasks, counted.wanted, counted.judged) == (len(tasks), 3 * len(tasks), first)
    assert counted.open == sum(task.judged < 3 for task in tasks)
    assert counted.places == counted.wanted - first


def test_tasks_that_go_are_counted_no_more(session: Session, make: Any) -> None:
    project = make.project()
    task = make.task(make.prompt(project), overlap=2)
    fold(session)
    session.execute(text("DELETE FROM task_responses"))
    session.execute(text("DELETE FROM tasks WHERE id = :id"), {"id": task.id})
    deltas = session.scalars(select(TaskDelta)).all()
    assert [(d.tasks, d.wanted, d.judged, d.open, d.places) for d in deltas] == [(-1, -2, 0, -1, -2)]


def test_first_and_second_are_what_a_person_saw(session: Session, make: Any) -> None:
    """One chose the first shown and another the second, and they saw the pair the other way round: they agree."""
    project = make.project(forms=[SHOWS])
    task = make.task(make.prompt(project), kind=FeedbackKind.QUESTIONS, overlap=2)
    ids = [str(key) for key in make.response_ids(task)]
    for shown, answer in ((ids, "first"), (ids[::-1], "second")):
        assignment = make.assignment(task, make.person(), display_order=shown)
        fields = {"assignment_id": assignment.id, "kind": "questions", "payload": {"answers": {"better": answer}}}
        make.submission(task, [], **fields)
    fold(session)
    assert sums_of(session)["same", "question better", "all", ""] == (1, 1, 1)
    [value] = session.scalars(select(AgreementValue).where(AgreementValue.slice == "all"))
    assert (value.one, value.other, value.times) == ('"first"', '"first"', 2)


def test_wins_are_by_model_and_a_correction_moves_them(session: Session, make: Any) -> None:
    project, models = make.project(), sorted(make.model().id for _ in range(2))
    task = make.task(make.prompt(project), ("short", "a much longer response"))
    responses = make.response_ids(task)
    session.execute(text("ALTER TABLE responses DISABLE TRIGGER responses_append_only"))
    for response, model in zip(responses, models, strict=True):
        session.execute(text("UPDATE responses SET model_id = :m WHERE id = :r"), {"m": model, "r": response})
    session.execute(text("ALTER TABLE responses ENABLE TRIGGER responses_append_only"))
    first = make.submission(task, [[0], [1]])
    fold(session)
    [win] = session.scalars(select(ModelWin))
    assert (win.first, win.second, win.longer, win.wins, win.losses, win.ties) == (*models, -2, 1, 0, 0)
    make.submission(task, [[0, 1]], assignment_id=first.assignment_id, supersedes=first.id)
    fold(session)
    session.expire_all()
    [win] = session.scalars(select(ModelWin))
    assert (win.wins, win.losses, win.ties) == (0, 0, 1)


def test_one_folds_at_a_time(fresh_engine: Engine) -> None:
    with Session(fresh_engine) as one, Session(fresh_engine) as other:
        rows(one, "SELECT pg_advisory_xact_lock(7265020)")
        assert fold(other) == 0
