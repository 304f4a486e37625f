"""Evaluations of a PPO run as events and tasks: once each, under the lease, and no word on whose reply is whose."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.shared.events import StageResult
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import LeaseLost
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import JobEventRow, ModelKind, PromptRow, ResponseRow, Task, TaskResponse
from tests.support.evaluations import BEFORE, QUESTIONS, evaluated, replies, rows_of, running_ppo
from workers.attempt import commit
from workers.attempt.comparisons import add_evaluation
from workers.attempt.inputs import Resolved
from workers.attempt.journal import Journal
from workers.stage.faults import AttemptError
from workers.stage.work import Batch, BufferedReporter
from workers.staging import Folders


def counts(session: Session) -> list[int | None]:
    tables = (JobEventRow, PromptRow, ResponseRow, Task, TaskResponse)
    return [session.scalar(select(func.count()).select_from(table)) for table in tables]


def test_different_replies_become_tasks_of_two_and_identical_ones_do_not(make: Any, session: Session) -> None:
    project = make.project(overlap=3)
    job = running_ppo(session, make, project)
    start = uuid.UUID(job.inputs["model"]["model"])
    tasks = evaluated(session, job, 8, ("on the hill", "the baker", "blood"))

    assert set(session.scalars(select(Task).where(Task.project_id == project.id))) == set(tasks)
    assert [(task.kind, task.overlap, task.judged) for task in tasks] == [("ranking", 3, 0)] * 2
    assert [session.get_one(PromptRow, task.prompt_id).record["messages"][0]["content"] for task in tasks] == [
        QUESTIONS[0], QUESTIONS[2],
    ]  # fmt: skip
    made = {row.text: (row.sampling, row.model_id) for row in replies(session, job)}
    assert made == {
        "by the river": ({"update": 0}, start),
        "on the hill": ({"update": 8}, None),
        "a rose": ({"update": 0}, start),
        "blood": ({"update": 8}, None),
    }
    event = session.scalars(select(JobEventRow).where(JobEventRow.type == "look")).one()
    assert event.data["update"] == 8
    said = [(row["prompt"], row["before"], row["response"], row["task"]) for row in event.data["rows"]]
    assert said == [
        (QUESTIONS[0], "by the river", "on the hill", str(tasks[0].id)),
        (QUESTIONS[1], "the baker", "the baker", None),
        (QUESTIONS[2], "a rose", "blood", str(tasks[1].id)),
    ]


def test_the_place_of_a_reply_does_not_say_whose_it_is(make: Any, session: Session) -> None:
    """Whoever of the two has a text, it stands in the same place."""
    job = running_ppo(session, make, make.project())
    (one,) = evaluated(session, job, 4, ("on the hill",))
    rows = [row | {"before": row["response"], "response": row["before"]} for row in rows_of(("on the hill",))]
    add_evaluation(session, job.id, job.epoch, 8, rows)
    texts = select(ResponseRow.text).join(TaskResponse).order_by(TaskResponse.position)
    orders = {
        tuple(session.scalars(texts.where(TaskResponse.task_id == task))) for task in session.scalars(select(Task.id))
    }
    assert len(orders) == 1
    assert {row.id.version for row in replies(session, job)} == {one.id.version} == {4}


def test_without_a_project_an_evaluation_is_an_event_alone(make: Any, session: Session) -> None:
    job = running_ppo(session, make)
    before = counts(session)
    add_evaluation(session, job.id, job.epoch, 8, rows_of(("on the hill",)))
    assert counts(session) == [before[0] + 1, *before[1:]]  # type: ignore[operator]


class Repeating:
    """A lease whose every commit seems to fail the first time."""

    def __init__(self, session: Session, job_id: uuid.UUID, epoch: int) -> None:
        self.session, self.job_id, self.epoch = session, job_id, epoch

    def write(self, action: Callable[[Session], Any]) -> Any:
        action(self.session)
        return action(self.session)


def test_an_evaluation_that_is_reported_or_written_again_is_there_once(make: Any, session: Session) -> None:
    job = running_ppo(session, make, make.project())
    reporter, lease = BufferedReporter(), Repeating(session, job.id, job.epoch)
    reporter.evaluation(8, rows_of(("on the hill", "the miller")))
    batch = reporter.take()
    Journal(lease).forward(Batch() + batch)  # type: ignore[arg-type]
    written = counts(session)
    assert written[3:] == [2, 4]

    job_store.release(session, job.id, job.epoch)
    assert job_store.claim(session, "host:2", 60) is job
    job_store.mark_running(session, job.id, job.epoch)
    written = counts(session)
    Journal(Repeating(session, job.id, job.epoch)).forward(batch)  # type: ignore[arg-type]
    assert counts(session) == written
    add_evaluation(session, job.id, job.epoch, 16, rows_of(("on the hill",)))
    assert counts(session)[3] == 3


def test_an_attempt_that_lost_its_lease_writes_nothing(make: Any, session: Session) -> None:
    job = running_ppo(session, make, make.project())
    job_store.release(session, job.id, 1)
    assert job_store.claim(session, "host:2", 60) is job
    written = counts(session)
    with pytest.raises(LeaseLost):
        add_evaluation(session, job.id, 1, 8, rows_of(("on the hill",)))
    assert counts(session) == written


def test_characters_that_postgres_refuses_do_not_stop_a_run(make: Any, session: Session) -> None:
    job = running_ppo(session, make, make.project())
    (task,) = evaluated(session, job, 8, ("on\0the hill",))
    assert {row.text for row in replies(session, job)} == {"on\ufffdthe hill", BEFORE[0]}
    rows = [row | {"before": "a\0", "response": "a\ufffd"} for row in rows_of(("",))]
    add_evaluation(session, job.id, job.epoch, 16, rows)  # the same text, once it is stored
    assert session.scalars(select(Task)).all() == [task]


def test_a_project_without_rankings_is_named(make: Any, session: Session) -> None:
    job = running_ppo(session, make, make.project(forms=[], name="mute"))
    with pytest.raises(AttemptError, match="mute does not ask for rankings") as caught:
        add_evaluation(session, job.id, job.epoch, 8, rows_of(("on the hill",)))
    assert caught.value.kind is ErrorKind.BAD_INPUT


def test_a_finished_ppo_job_makes_no_more_tasks(make: Any, session: Session, tmp_path: Path) -> None:
    """Its project is not that of a sample job, whose file of responses becomes tasks in the end."""
    job = running_ppo(session, make, make.project())
    job_store.mark_committing(session, job.id, job.epoch)
    start, judge = make.model(), make.model(ModelKind.REWARD)
    resolved = Resolved(job.stage, tmp_path / "none", None, {"model": start, "reward_model": judge}, {})  # type: ignore[arg-type]
    published = commit.Published("0" * 64, ())
    commit.commit(session, Folders(tmp_path, job.id, job.epoch), resolved, published, StageResult("ppo", {}, {}))
    assert (job.state, counts(session)[3]) == ("succeeded", 0)
