"""A PPO job at work, and evaluations at its policy as the stage reports them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.records import Prompt
from annotation_api.db.jobs import store as job_store
from annotation_api.db.tables import Job, Project, PromptRow, ResponseRow, Task, TaskResponse
from workers.attempt.comparisons import add_evaluation

QUESTIONS = ("Where is the mill?", "Who bakes?", "What is red?")
BEFORE = ("by the river", "the baker", "a rose")


def running_ppo(session: Session, make: Any, project: Project | None = None) -> Job:
    inputs = {"model": {"model": str(make.model().id)}} | ({"project": str(project.id)} if project else {})
    job = make.job(Stage.PPO, inputs=inputs, priority=1000)
    claimed = job_store.claim(session, "host:1", 60)
    assert claimed is job
    job_store.mark_running(session, job.id, job.epoch)
    return job


def rows_of(responses: Sequence[str], score: float = 2.0) -> list[dict[str, Any]]:
    """An evaluation on as many prompts as there are responses; the SFT policy's replies are BEFORE, scored 1."""
    return [
        {
            "prompt": Prompt.from_text(question).canonical(),
            "before": before,
            "response": response,
            "score_before": 1.0,
            "score": score,
            "kl": 0.5,
        }
        for question, before, response in zip(QUESTIONS, BEFORE, responses, strict=False)
    ]


def evaluated(session: Session, job: Job, update: int, responses: Sequence[str], score: float = 2.0) -> list[Task]:
    """Write an evaluation down; its tasks in the order of the prompts."""
    add_evaluation(session, job.id, job.epoch, update, rows_of(responses, score))
    return tasks_of(session, job, update)


def tasks_of(session: Session, job: Job, update: int) -> list[Task]:
    chosen = {row.id: row.text for row in replies(session, job) if row.sampling == {"update": update}}
    held = {
        chosen[place.response_id]: place.task_id
        for place in session.scalars(select(TaskResponse).where(TaskResponse.response_id.in_(chosen)))
    }
    found = [session.get_one(Task, held[text]) for text in chosen.values()]
    records = {task.id: session.get_one(PromptRow, task.prompt_id).record for task in found}
    return sorted(found, key=lambda task: QUESTIONS.index(records[task.id]["messages"][0]["content"]))


def replies(session: Session, job: Job) -> list[ResponseRow]:
    return list(session.scalars(select(ResponseRow).where(ResponseRow.job_id == job.id)))


def prefers(session: Session, task: Task, update: int) -> list[list[int]]:
    """The ranking of a task, by places, that puts the reply of that update first."""
    rows = session.execute(
        select(TaskResponse.position, ResponseRow.sampling).join(ResponseRow).where(TaskResponse.task_id == task.id)
    )
    first = next(position for position, sampling in rows if sampling == {"update": update})
    return [[first], [1 - first]]
