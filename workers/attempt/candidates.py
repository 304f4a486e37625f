"""Sampled responses become annotation tasks: rows for one fenced transaction, committed with the job."""

from __future__ import annotations

import itertools
import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.config import SampleConfig
from alignment.shared.records import Prompt, read_jsonl, storable
from alignment.shared.sentence import Sentence, counted, in_turn
from annotation_api.db import form_rows, tasks
from annotation_api.db.forms import MAX_RANKED
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Form, Job, Project
from workers.stage.faults import AttemptError

FEWEST = 2  # different responses that can be ranked


@dataclass(frozen=True)
class Dealt:
    """What became of the responses of a job."""

    tasks: int  # new ones
    short: int  # prompts with fewer tasks than were asked for, and at least one
    without: int  # prompts with no task: all their responses are one text
    copies: int  # responses whose text stands in a task as another's

    def counts(self) -> dict[str, int]:
        return asdict(self)

    def said(self, wanted: int) -> Sentence:
        waiting = counted(
            "tasks-wait",
            "%(n)s task waits for annotators.",
            "%(n)s tasks wait for annotators.",
            n=self.tasks,
        )
        short = counted(
            "prompts-with-fewer",
            "%(n)s prompt has fewer than %(wanted)s: too few different responses.",
            "%(n)s prompts have fewer than %(wanted)s: too few different responses.",
            n=self.short,
            wanted=wanted,
        )
        without = counted(
            "prompts-without",
            "%(n)s prompt has none: its responses are the same.",
            "%(n)s prompts have none: their responses are the same.",
            n=self.without,
        )
        copies = counted(
            "responses-twice",
            "%(n)s response says the same as another, and is shown once.",
            "%(n)s responses say the same as another, and are shown once.",
            n=self.copies,
        )
        found = ((self.short, short), (self.without, without), (self.copies, copies))
        return in_turn([waiting, *(said for number, said in found if number)])


def add_candidates(session: Session, job: Job, project_id: uuid.UUID, folder: Path, prompts: Path) -> Dealt:
    """Add every response in `folder`/responses.jsonl, and the tasks: each prompt's different ones, dealt out in turn.

    `prompts` is the file that was sampled from. Commits nothing.
    """
    project, form = ranking_project(session, project_id)
    records = list(read_jsonl(prompts, Prompt))
    ids = tasks.prompt_ids(session, project_id, records)
    wanted = tasks_wanted(job)
    responses: list[tasks.Response] = []
    new: list[tasks.TaskToAdd] = []
    made: list[int] = []  # tasks of each prompt
    copies = 0
    for index, rows in itertools.groupby(_responses(folder), key=lambda row: int(row["prompt"])):
        sampled = [
            new_response(row["text"], ids[records[index].key], job, uuid.UUID(row["model"]), row["sampling"])
            for row in rows
        ]
        responses += sampled
        # Identical texts stand once: two people cannot disagree about which copy is better.
        distinct = list({response.text_hash: response for response in sampled}.values())
        dealt = _deal(distinct, wanted)
        new += [ranking_task(project, form, chosen) for chosen in dealt]
        made.append(len(dealt))
        copies += len(sampled) - len(distinct)
    tasks.add_responses(session, responses)
    tasks.add_tasks(session, new)
    return Dealt(len(new), sum(0 < count < wanted for count in made), made.count(0), copies)


def tasks_wanted(job: Job) -> int:
    """Of each prompt."""
    return SampleConfig.model_validate(job.config).tasks_per_prompt


def _deal(distinct: Sequence[tasks.Response], wanted: int) -> list[Sequence[tasks.Response]]:
    """So many hands, each of 2 to MAX_RANKED: fewer hands where one would be left with a single response."""
    hands = max(min(wanted, len(distinct) // FEWEST), math.ceil(len(distinct) / MAX_RANKED))
    return [distinct[start::hands] for start in range(hands)] if len(distinct) >= FEWEST else []


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
