"""How much to trust whom in a project: reliability by person, from what was judged last."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping

from sqlalchemy.orm import Session

from alignment.shared.judges import reliability
from alignment.shared.judges.reliability import Reliability
from annotation_api.annotation.agreement import queries
from annotation_api.annotation.agreement.schemas import Trust, TrustOut
from annotation_api.annotation.agreement.service import count_what_waits
from annotation_api.db.tables import Project
from annotation_api.db.tallies import judgements
from annotation_api.db.tallies.contributions import by_criterion, orders_of, ranks_of, standing
from annotation_api.db.tallies.judgements import Judged
from annotation_api.db.tallies.values import units_of

PROMPTS = 500  # the newest that were judged: of more the estimate takes seconds of the API's own time


def trust_of(session: Session, project: Project) -> TrustOut:
    """By person and what they were asked: orders by Bradley and Terry's model, values by Dawid and Skene's."""
    count_what_waits(session)
    prompts = queries.newest_prompts(session, project.id, PROMPTS)
    found = [standing(judged) for judged in judgements.of_prompts(session, prompts).values()]
    tasks = [task for prompt in found for task in _by_task(prompt)]
    rows = list(_rows("", reliability.of_orders(_orders(tasks))))
    for subject, things in _things(tasks).items():
        rows += _rows(subject, reliability.of_values(things))
    return TrustOut(
        project=project.id, prompts=len(found), people=sorted(rows, key=lambda row: (row.subject, row.value))
    )


def _by_task(prompt: Iterable[Judged]) -> Iterator[list[Judged]]:
    tasks: dict[uuid.UUID, list[Judged]] = {}
    for one in prompt:
        tasks.setdefault(one.task, []).append(one)
    yield from tasks.values()


def _orders(tasks: Iterable[list[Judged]]) -> list[list[tuple[str, list[int]]]]:
    ranked = [same for task in tasks for same in by_criterion(order for one in task for order in orders_of(one))]
    return [[(one.by, [ranks_of(one)[item.id] for item in one.items]) for one in same] for same in ranked]


def _things(tasks: Iterable[list[Judged]]) -> dict[str, list[Mapping[str, str]]]:
    """What was given a value, by what was asked."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for task in tasks:
        for unit in units_of(task):
            found.setdefault(unit.subject, []).append({given.by: given.value for given in unit.given})
    return found


def _rows(subject: str, people: Mapping[str, Reliability]) -> Iterator[Trust]:
    for name, one in people.items():
        yield Trust(
            person=name,
            subject=subject,
            value=one.value,
            low=one.low,
            high=one.high,
            weight=one.weight,
            votes=one.votes,
            items=one.items,
        )
