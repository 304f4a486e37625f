"""The list of models with the numbers by which people choose, sorted and filtered; and the aliases that they carry."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from alignment.shared import gate
from alignment.shared.config import GateConfig
from annotation_api.db.tables import AliasMove, Job, ModelKind, ModelVersion
from annotation_api.jobs.comparison.jobs import Numbers, numbers_of, people_of_each
from annotation_api.jobs.comparison.schemas import ComparedNumber
from annotation_api.models import queries as models
from annotation_api.web import queries
from annotation_api.web.runs import titles

MOST = 500
ROLES = ("champion", "challenger")  # aliases that the pages offer; any other name is as good
# A reward model: held-out accuracy, what annotators agree on, calibration. A policy: objective, KL, what people prefer.
COLUMNS = {
    "heldout_accuracy": (ModelKind.REWARD,),
    "annotator_agreement": (ModelKind.REWARD,),
    "heldout_calibration_error": (ModelKind.REWARD,),
    "heldout_objective": (ModelKind.POLICY,),
    "heldout_kl": (ModelKind.POLICY,),
    "human_win_rate": (ModelKind.POLICY,),
}
LOW_IS_GOOD = ("heldout_calibration_error", "heldout_kl", "name")


@dataclass(frozen=True)
class ModelLine:
    """A model with its numbers."""

    model: ModelVersion
    aliases: list[str]
    numbers: Mapping[str, ComparedNumber]
    gate: str | None  # of a reward model


def found(kind: ModelKind | None, tag: str, name: str) -> Select[Any]:
    """The models of a kind, with a tag, with a part of its name or of its job's, where they are given."""
    query = select(ModelVersion)
    query = query.where(ModelVersion.kind == kind) if kind else query
    query = query.where(ModelVersion.tags.contains([tag])) if tag else query
    if not name:
        return query
    called_as_its_job = select(Job.id).where(Job.id == ModelVersion.job_id, Job.name.icontains(name, autoescape=True))
    return query.where(ModelVersion.name.icontains(name, autoescape=True) | called_as_its_job.exists())


def lines(session: Session, rows: Sequence[ModelVersion], aliases: Mapping[uuid.UUID, list[str]]) -> list[ModelLine]:
    jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_([row.job_id for row in rows])))}
    made = [jobs[row.job_id] for row in rows if row.kind is ModelKind.POLICY and row.job_id in jobs]
    judged = people_of_each(session, [job for job in made if job.inputs.get("project")])
    return [_line(row, aliases.get(row.id, []), judged.get(row.job_id, {}) if row.job_id else {}) for row in rows]


def _line(row: ModelVersion, aliases: list[str], judged: Numbers) -> ModelLine:
    numbers = {**numbers_of(row.metrics), **judged}
    outcome = (
        gate.decide(row.metrics, GateConfig()).outcome.value if row.kind is ModelKind.REWARD and row.metrics else None
    )
    return ModelLine(row, aliases, numbers, outcome)


def ordered(found: Sequence[ModelLine], called: Mapping[uuid.UUID, str], by: str) -> list[ModelLine]:
    """The best first by a number, those without it last; by name; else as they are, the newest first."""
    if by == "name":
        return sorted(found, key=lambda line: called[line.model.id].casefold())
    if by not in COLUMNS:
        return list(found)
    sign = 1 if by in LOW_IS_GOOD else -1
    return sorted(
        found, key=lambda line: (by not in line.numbers, sign * line.numbers[by].value if by in line.numbers else 0)
    )


def columns_of(found: Sequence[ModelLine]) -> list[str]:
    """Those that any of the models has a number for."""
    return [name for name in COLUMNS if any(name in line.numbers for line in found)]


@dataclass(frozen=True)
class MoveLine:
    """What an alias stood for from then on."""

    move: AliasMove
    model: str | None
    person: str | None


def history(session: Session, names: Collection[str]) -> list[MoveLine]:
    """Of the aliases, the newest first."""
    moves = models.alias_moves(session, names)[:50]
    called = titles.of_models(session, [each.model_id for each in moves if each.model_id])
    people = queries.names_of(session, [each.moved_by for each in moves if each.moved_by])
    return [
        MoveLine(
            each,
            called.get(each.model_id) if each.model_id else None,
            people.get(each.moved_by) if each.moved_by else None,
        )
        for each in moves
    ]
