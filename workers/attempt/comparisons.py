"""Evaluations of a PPO run become comparisons: an event with both replies to each prompt, and tasks for annotators.

A task holds the policy's reply and the SFT policy's. Whose is whose stands in `ResponseRow.sampling`, by the number of
updates, and in nothing that annotators see: the ids of the two are random, their places follow from their texts alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.records import Prompt, storable
from annotation_api.db import tasks
from annotation_api.db.jobs import graph as job_graph
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.tables import Job, JobEventRow
from workers.attempt.candidates import new_response, ranking_project, ranking_task

SFT = 0  # the update after which the policy is still the SFT policy

Row = Mapping[str, Any]


def add_evaluation(session: Session, job_id: uuid.UUID, epoch: int, update: int, rows: Sequence[Row]) -> None:
    """Write an evaluation down, with a task for each pair of different replies where the job's inputs name a project.

    An evaluation that is reported again, by this attempt or a later one, changes nothing.
    Raises LeaseLost. Commits nothing.
    """
    job_store.append_events(session, job_id, epoch, [])  # takes the job's lock and checks the fence
    if _is_recorded(session, job_id, update):
        return
    job = session.get_one(Job, job_id)
    asked = {Prompt.from_line(row["prompt"]): row for row in rows}
    added = _add_tasks(session, job, update, asked) if job.inputs.get("project") else {}
    kept = [
        {**row, "key": prompt.key, "prompt": prompt.text, "task": added.get(prompt.key)}
        for prompt, row in asked.items()
    ]
    job_store.append_events(session, job_id, epoch, [Event.evaluation(update, kept)])


def _is_recorded(session: Session, job_id: uuid.UUID, update: int) -> bool:
    evaluations = select(JobEventRow.seq).where(JobEventRow.job_id == job_id, JobEventRow.type == "look")
    return session.scalar(evaluations.where(JobEventRow.data["update"].as_integer() == update)) is not None


def _add_tasks(session: Session, job: Job, update: int, asked: Mapping[Prompt, Row]) -> dict[str, str]:
    """The id of each new task, by its prompt's key; identical replies make none."""
    project, form = ranking_project(session, uuid.UUID(job.inputs["project"]))
    start = uuid.UUID(job_graph.resolve_inputs(session, job)["model"]["model"])
    different = {prompt: row for prompt, row in asked.items() if storable(row["before"]) != storable(row["response"])}
    ids = tasks.prompt_ids(session, project.id, different)
    new: dict[str, tasks.TaskToAdd] = {}
    for prompt, row in different.items():
        before = new_response(row["before"], ids[prompt.key], job, start, {"update": SFT})
        after = new_response(row["response"], ids[prompt.key], job, None, {"update": update})
        pair = sorted((before, after), key=lambda response: response.text_hash)
        new[prompt.key] = ranking_task(project, form, pair)
    tasks.add_tasks(session, list(new.values()))
    return {key: str(task.id) for key, task in new.items()}
