"""What a job ran on: its models and data by name, the settings that no preset has, and what it waits behind."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from alignment.shared.config import CONFIGS, load_preset, preset_names
from annotation_api.db.jobs.differences import Difference, differences
from annotation_api.db.jobs.machine import LIVE
from annotation_api.db.kinds import DEFAULTS
from annotation_api.db.tables import Job, JobState, ModelVersion, Snapshot
from annotation_api.jobs.comparison.jobs import NAMED, name_of
from annotation_api.web.markup.rendering import stage_name
from annotation_api.web.runs import titles


@dataclass(frozen=True)
class Read:
    """One thing that a job reads."""

    role: str
    kind: str  # model, job, snapshot, project
    id: str
    label: str
    facts: str = ""
    gone: bool = False


def reads(session: Session, job: Job) -> list[Read]:
    """Its inputs in the order in which it names them."""
    return list(_reads(session, job.inputs))


def _reads(session: Session, inputs: dict[str, Any]) -> Iterator[Read]:
    for role, value in inputs.items():
        for each in value if isinstance(value, list) else [value]:
            kind, key = next(iter(each.items())) if isinstance(each, dict) and each else ("project", str(each))
            yield _read(session, role, kind, key)


def _read(session: Session, role: str, kind: str, key: str) -> Read:
    row = session.get(NAMED[kind], uuid.UUID(key)) if kind in NAMED else None
    name = name_of(session, kind, uuid.UUID(key), titles.of_models, stage_name) if row else None
    match row:
        case ModelVersion():
            return Read(role, kind, key, name or key[:8], row.kind.value, row.removed_at is not None)
        case Job():
            return Read(role, kind, key, row.name or f"{name} {key[:8]}", row.state.value)
        case Snapshot():
            return Read(role, kind, key, name or key[:8], f"{row.rows:,}")
    return Read(role, kind, key, name or key[:8], gone=row is None)


def unlike_preset(job: Job) -> tuple[str, list[Difference]]:
    """The preset, or the defaults, that the job was made with, and in what its settings differ from it.

    Of a job from before that was kept, and where the preset is gone: the one that they differ least from.
    """
    sides = {DEFAULTS: CONFIGS[job.stage]().model_dump(mode="json")}
    sides |= {name: load_preset(name, job.stage).model_dump(mode="json") for name in preset_names()}
    found = {name: differences(side, sides[DEFAULTS] | job.config) for name, side in sides.items()}
    name = job.preset if job.preset in found else min(found, key=lambda each: len(found[each]))
    return name, found[name]


@dataclass(frozen=True)
class PlaceInQueue:
    """What stands before a job that could start: the jobs at work, and those that come first."""

    before: int
    at_work: list[Job]


def queue(session: Session, job: Job) -> PlaceInQueue | None:
    """None for a job that is not queued. Who has fewer jobs at work goes first among equals, so `before` may shrink."""
    if job.state is not JobState.QUEUED:
        return None
    first = tuple_(-Job.priority, Job.created_at, Job.id) < (-job.priority, job.created_at, job.id)
    waiting = select(func.count()).select_from(Job).where(Job.state == JobState.QUEUED, first)
    at_work = session.scalars(select(Job).where(Job.state.in_(LIVE)).order_by(Job.created_at).limit(10)).all()
    return PlaceInQueue(session.scalar(waiting) or 0, list(at_work))
