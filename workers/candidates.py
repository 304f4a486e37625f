"""Sampled responses become annotation tasks: rows for one fenced transaction, committed with the job."""

from __future__ import annotations

import itertools
import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from alignment.config import SampleConfig
from alignment.events import ErrorKind, StageError
from alignment.records import Prompt, read_jsonl, sha256_text, storable
from annotation_api.db import form_rows
from annotation_api.db.forms import MAX_RANKED
from annotation_api.db.tables import Form, Job, Project, PromptRow, ResponseRow, Task, TaskResponse

FEWEST = 2  # different responses that can be ranked


def add_candidates(session: Session, job: Job, project_id: uuid.UUID, folder: Path, prompts: Path) -> int:
    """Add every response in `folder`/responses.jsonl, and the tasks: each prompt's different ones, dealt out in turn,
    at most MAX_RANKED to a task.

    `prompts` is the file that was sampled from. Returns the number of new tasks. Commits nothing.
    """
    project, form = ranking_project(session, project_id)
    records = list(read_jsonl(prompts, Prompt))
    ids = prompt_ids(session, project_id, records)
    tasks, sets = 0, SampleConfig.model_validate(job.config).tasks_per_prompt
    for index, rows in itertools.groupby(_responses(folder), key=lambda row: int(row["prompt"])):
        responses = [
            new_response(row["text"], ids[records[index].key], job, uuid.UUID(row["model"]), row["sampling"])
            for row in rows
        ]
        session.add_all(responses)
        distinct = list({response.text_hash: response for response in responses}.values())
        turns = max(sets, math.ceil(len(distinct) / MAX_RANKED))
        for chosen in (distinct[start::turns] for start in range(turns)):
            if len(chosen) >= FEWEST:
                add_task(session, project, form, chosen)
                tasks += 1
    session.flush()
    return tasks


def ranking_project(session: Session, project_id: uuid.UUID) -> tuple[Project, Form]:
    """The project and the form of its new rankings. Raises StageError(BAD_INPUT) where there is none."""
    project = session.get(Project, project_id)
    if project is None:
        raise StageError(ErrorKind.BAD_INPUT, f"There is no project {project_id}.", "Name a project that exists.")
    form = form_rows.newest_form(session, project_id)
    if form is None:
        hint = "Give the project a form of the kind ranking."
        raise StageError(ErrorKind.BAD_INPUT, f"Project {project.name} does not ask for rankings.", hint)
    return project, form


def prompt_ids(session: Session, project_id: uuid.UUID, prompts: Iterable[Prompt]) -> dict[str, uuid.UUID]:
    """The project's row of each prompt, by key; made where it is missing."""
    records = {prompt.key: json.loads(prompt.canonical()) for prompt in prompts}
    rows = [
        {"id": uuid.uuid4(), "project_id": project_id, "key": key, "record": record} for key, record in records.items()
    ]
    session.execute(insert(PromptRow).on_conflict_do_nothing(), rows)
    found = select(PromptRow.key, PromptRow.id).where(PromptRow.project_id == project_id, PromptRow.key.in_(records))
    return {row.key: row.id for row in session.execute(found)}


def _responses(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of the artifact, ordered by prompt, model and draw."""
    with (folder / "responses.jsonl").open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def new_response(
    text: str, prompt_id: uuid.UUID, job: Job, model_id: uuid.UUID | None, sampling: Mapping[str, Any]
) -> ResponseRow:
    """A row of what `job` sampled; `model_id` is unset where the policy is no version of the registry."""
    text = storable(text)
    return ResponseRow(
        id=uuid.uuid4(),
        prompt_id=prompt_id,
        text=text,
        text_hash=sha256_text(text),
        model_id=model_id,
        job_id=job.id,
        sampling=dict(sampling),
    )


def add_task(session: Session, project: Project, form: Form, responses: list[ResponseRow]) -> Task:
    """Identical texts stand once: two people cannot disagree about which copy is better."""
    task = Task(
        id=uuid.uuid4(),
        project_id=project.id,
        prompt_id=responses[0].prompt_id,
        form_id=form.id,
        overlap=project.overlap,
    )
    session.add(task)
    session.add_all(
        TaskResponse(task_id=task.id, position=position, response_id=response.id)
        for position, response in enumerate(responses)
    )
    return task
