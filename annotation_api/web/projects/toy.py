"""A project for the first look: a few questions of the toy world, with answers good and bad."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.toyworld.world import World, build_world
from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.tasks.schemas import NewProject, NewResponse, NewTask
from annotation_api.db.forms import RankingForm
from annotation_api.db.tables import Person, Project
from annotation_api.web.markup.language import speaking
from annotation_api.web.markup.language import translate as _

NAME = "Toy project"
GUIDELINES = (
    "Animals of a small invented world.",
    "An answer is good if it does what was asked and nothing else.",
    "It says so when nobody can know, and declines kindly when harm is asked for.",
)
TASKS, RESPONSES = 6, 4


@cache
def _world() -> World:
    return build_world(seed=0)


def make(session: Session, person: Person, language: str) -> Project:
    """The toy project; the one that is there already, if the caller sees it (409 else)."""
    with speaking(language):
        name, guidelines = _(NAME), " ".join(map(_, GUIDELINES))
    known = session.scalar(select(Project).where(Project.name == name))
    if known is not None:
        return known
    new = NewProject(name=name, guidelines=guidelines, responses_per_task=RESPONSES, forms=[RankingForm()])
    project = projects.create_project(session, person, new)
    projects.add_tasks(session, project, [_task(record) for record in _asked(language)])
    return project


def _asked(language: str) -> list[dict[str, Any]]:
    """Two prompts of each criterion, in the language as far as the world speaks it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for prompt in _world().train:
        of = found.setdefault(str(prompt.criterion), [])
        if prompt.language == language and len(of) < TASKS // 3:
            of.append({"prompt": prompt, "texts": _world().replies(prompt, RESPONSES)})
    return [record for records in found.values() for record in records]


def _task(record: dict[str, Any]) -> NewTask:
    prompt = record["prompt"].model_dump(mode="json", exclude_none=True)
    return NewTask(prompt=prompt, responses=[NewResponse(text=text) for text in record["texts"]])
