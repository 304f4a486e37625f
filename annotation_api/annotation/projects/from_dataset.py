"""Tasks from an imported data set, a batch in memory at a time."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy.orm import Session

from alignment.shared.records import Demonstration
from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.annotation.projects import bulk
from annotation_api.annotation.projects.planning import KNOWN, Plan, Skipped, plans_of
from annotation_api.annotation.projects.schemas import FromDataset, FromDatasetOut, Reason
from annotation_api.db import form_rows
from annotation_api.db.forms import QuestionsForm, RankingForm, RulesForm, read_form
from annotation_api.db.locks import let_erasures_wait
from annotation_api.db.tables import Dataset, FeedbackKind, Form, Project
from annotation_api.http.errors import ApiError, invalid, not_found


def add_from_dataset(session: Session, project: Project, wanted: FromDataset) -> FromDatasetOut:
    """Turn a data set into tasks of `project`. What is a task already is counted and not made again.

    A dry run counts alike and makes nothing.

    404 for an unknown data set, 422 for one that does not fit and for a kind that the project does not ask,
    409 while another such call fills the project.
    """
    dataset = _dataset(session, wanted.dataset)
    form = _form(session, project, wanted.kind)
    spec = read_form(form.spec)
    if isinstance(spec, RankingForm) or (isinstance(spec, QuestionsForm) and spec.about == "pair"):
        _check_several(dataset, spec)
    if not bulk.take_turn(session, project.id):
        detail = Sentence(
            "filling", "This project's queue is just being filled from a data set. Ask again when that is done."
        )
        raise ApiError(409, "filling", detail, headers={"Retry-After": "5"})
    let_erasures_wait(session)
    queue = bulk.Queue(
        project.id, wanted.kind, form.id, wanted.overlap or project.overlap, wanted.priority, wanted.dataset
    )
    most = wanted.responses_per_task or project.responses_per_task
    filling = Filling(session, queue, spec, most, wanted.limit, dry=wanted.dry_run)
    filling.run(bulk.records_of(session, dataset))
    return filling.report()


@dataclass
class Filling:
    """The work in progress: what was made and what was not."""

    session: Session
    queue: bulk.Queue
    spec: RankingForm | QuestionsForm | RulesForm
    most: int
    limit: int | None
    dry: bool = False
    tasks: int = 0
    drawn: int = 0
    rows: int = 0
    complete: bool = True
    skipped: Counter[str] = field(default_factory=Counter)
    counted: set[uuid.UUID] = field(default_factory=set)  # of a dry run: what would be a task by now
    since: datetime | None = None  # the places in the queue of the first task
    until: datetime | None = None  # and of the last

    def run(self, records: Iterator[tuple[int, bulk.Judgeable]]) -> None:
        """Batch by batch, until the records or the limit end."""
        began = bulk.now(self.session)
        while batch := list(islice(records, bulk.BATCH)):
            self._add(batch, began)
            if self.limit is not None and self.tasks >= self.limit:
                self.complete = self.complete and next(records, None) is None
                return

    def _add(self, batch: list[tuple[int, bulk.Judgeable]], began: datetime) -> None:
        planned = self._planned(batch)
        there = bulk.known(self.session, planned.keys()) | (planned.keys() & self.counted)
        self.skipped[KNOWN] += len(there)
        missing = [(key, *planned[key]) for key in planned if key not in there]
        if self.limit is not None and len(missing) > self.limit - self.tasks:
            missing, self.complete = missing[: self.limit - self.tasks], False
        new = [
            bulk.New(key, plan, began + timedelta(microseconds=self.tasks + place), row)
            for place, (key, row, plan) in enumerate(missing)
        ]
        if self.dry:
            self.counted.update(item.id for item in new)
        else:
            self._store(new)
        self.tasks += len(new)
        self.drawn += sum(bool(item.plan.of) for item in new)

    def _store(self, new: list[bulk.New]) -> None:
        bulk.add_tasks(self.session, self.queue, new)
        if new:
            self.since, self.until = self.since or new[0].created_at, new[-1].created_at

    def _planned(self, batch: list[tuple[int, bulk.Judgeable]]) -> dict[uuid.UUID, tuple[int, Plan]]:
        """The tasks of the batch by id, each with its row."""
        space = uuid.uuid5(self.queue.project_id, f"{self.queue.dataset_id} {self.queue.kind.value}")
        planned: dict[uuid.UUID, tuple[int, Plan]] = {}
        for row, record in batch:
            self.rows += 1
            for plan in plans_of(record, self.spec, self.most):
                if isinstance(plan, Skipped):
                    self.skipped[plan.reason] += 1
                elif (key := plan.key(space)) in planned:
                    self.skipped[KNOWN] += 1
                else:
                    planned[key] = (row, plan)
        return planned

    def report(self) -> FromDatasetOut:
        return FromDatasetOut(
            tasks=self.tasks,
            judgements=self.tasks * self.queue.overlap,
            since=self.since,
            until=self.until,
            skipped=self.skipped.total(),
            reasons=[Reason(reason=reason, times=times) for reason, times in self.skipped.most_common() if times],
            drawn=self.drawn,
            rows=self.rows,
            complete=self.complete,
        )


def _dataset(session: Session, dataset_id: uuid.UUID) -> Dataset:
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise not_found("data set", dataset_id)
    if dataset.kind not in bulk.HOLDS:
        fit = ", ".join(kind.value for kind in bulk.HOLDS)
        hint = Sentence(
            "prompts-need-responses", "prompts need responses first: run a sample job that names this project"
        )
        raise _unfit(
            Sentence(
                "unfit-data",
                "%(name)s holds %(kind)s; tasks are made from %(fit)s (%(hint)s).",
                name=dataset.name,
                kind=dataset.kind.value,
                fit=fit,
                hint=hint,
            ),
            dataset_id,
        )
    return dataset


def _check_several(dataset: Dataset, spec: RankingForm | QuestionsForm) -> None:
    """A record of one response cannot be ranked or compared."""
    if bulk.HOLDS[dataset.kind] is Demonstration:
        what = "rank" if isinstance(spec, RankingForm) else "compare"
        detail = Sentence(
            "one-response-a-row",
            "%(name)s has one response a row: nothing to %(what)s. Ask questions or rules about it.",
            name=dataset.name,
            what=what,
        )
        raise _unfit(detail, dataset.id)


def _unfit(message: str, dataset_id: uuid.UUID) -> ApiError:
    return invalid([Problem(pointer="/dataset", message=message, value=str(dataset_id))])


def _form(session: Session, project: Project, kind: FeedbackKind) -> Form:
    form = form_rows.newest_form(session, project.id, kind)
    if form is None:
        asked = ", ".join(each.value for each in form_rows.newest_forms(session, project.id)) or "nothing yet"
        message = Sentence(
            "form-not-asked", "This project has no form of this kind; it asks for %(asked)s.", asked=asked
        )
        raise invalid([Problem(pointer="/kind", message=message, value=kind.value)])
    return form
