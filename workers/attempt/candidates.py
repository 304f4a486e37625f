"""Sampled responses become annotation tasks: rows for one fenced transaction, committed with the job."""

from __future__ import annotations

import itertools
import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.config import SampleConfig
from alignment.shared.records import Prompt, read_jsonl, storable
from alignment.shared.sentence import Sentence
from annotation_api.db import form_rows, tasks
from annotation_api.db.forms import MAX_RANKED
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Form, Job, Project
from workers.stage.faults import AttemptError

FEWEST = 2  # different responses that can be ranked


def add_candidates(session: Session, job: Job, project_id: uuid.UUID, folder: Path, prompts: Path) -> int:
    """Add every response in `folder`/responses.jsonl, and the tasks: each prompt's different ones, dealt out in turn,
    at most MAX_RANKED to a task.

    `prompts` is the file that was sampled from. Returns the number of new tasks. Commits nothing.
    """
    project, form = ranking_project(session, project_id)
    records = list(read_jsonl(prompts, Prompt))
    ids = tasks.prompt_ids(session, project_id, records)
    sets = SampleConfig.model_validate(job.config).tasks_per_prompt
    responses: list[tasks.Response] = []
    new: list[tasks.TaskToAdd] = []
    for index, rows in itertools.groupby(_responses(folder), key=lambda row: int(row["prompt"])):
        sampled = [
            new_response(row["text"], ids[records[index].key], job, uuid.UUID(row["model"]), row["sampling"])
            for row in rows
        ]
        responses += sampled
        # Identical texts stand once: two people cannot disagree about which copy is better.
        distinct = list({response.text_hash: response for response in sampled}.values())
        turns = max(sets, math.ceil(len(distinct) / MAX_RANKED))
        dealt = (distinct[start::turns] for start in range(turns))
        new += [ranking_task(project, form, chosen) for chosen in dealt if len(chosen) >= FEWEST]
    tasks.add_responses(session, responses)
    tasks.add_tasks(session, new)
    return len(new)


def ranking_project(session: Session, project_id: uuid.UUID) -> tuple[Project, Form]:
    """The project and the form of its new rankings. Raises AttemptError(BAD_INPUT) where there is none."""
    project = session.get(Project, project_id)
    if project is None:
        raise AttemptError(
            ErrorKind.BAD_INPUT,
            Sentence("no-project-id", "There is no project %(project_id)s.", project_id=project_id),
            Sentence("name-a-project", "Name a project that exists."),
        )
    form = form_rows.newest_form(session, project_id)
    if form is None:
        hint = Sentence("give-ranking-form", "Give the project a form of the kind ranking.")
        raise AttemptError(
            ErrorKind.BAD_INPUT,
            Sentence("project-not-ranking", "Project %(project)s does not ask for rankings.", project=project.name),
            hint,
        )
    return project, form


def _responses(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of the artifact, ordered by prompt, model and draw."""
    with (folder / "responses.jsonl").open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def new_response(
    text: str, prompt_id: uuid.UUID, job: Job, model_id: uuid.UUID | None, sampling: Mapping[str, Any]
) -> tasks.Response:
    """What `job` sampled; `model_id` is unset where the policy is no version of the registry."""
    return tasks.Response(prompt_id, storable(text), model_id, job.id, sampling)


def ranking_task(project: Project, form: Form, responses: Sequence[tasks.Response]) -> tasks.TaskToAdd:
    """To be ranked by as many people as the project wants."""
    return tasks.TaskToAdd(project.id, form.id, responses, project.overlap)
