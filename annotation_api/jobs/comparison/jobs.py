"""Up to eight jobs side by side: settings that differ, curves over one another, final numbers with intervals."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.intervals import interval95
from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.db.jobs.differences import differences
from annotation_api.db.tables import Artifact, Dataset, Job, ModelVersion, Project, Snapshot
from annotation_api.http.errors import invalid
from annotation_api.jobs import queries, service
from annotation_api.jobs.comparison.schemas import ComparedJob, ComparedNumber, JobComparison, NumberRow, SettingRow
from annotation_api.jobs.curves import ChartGroup, ChartSeries, charted
from annotation_api.jobs.thinning import thin_series
from annotation_api.jobs.wins import Comparison, win_rates

FEWEST, MOST = 2, 8
ENDS = ("_low", "_high")
NAMED: Mapping[str, type[Any]] = {"model": ModelVersion, "job": Job, "snapshot": Snapshot, "project": Project}
ALL_PROMPTS = "all prompts"  # in the place of a criterion, where prompts have none
Called = Callable[[Session, Collection[uuid.UUID]], Mapping[uuid.UUID, str]]
StageName = Callable[[Stage], str]


def own_names(session: Session, keys: Collection[uuid.UUID]) -> Mapping[uuid.UUID, str]:
    """What models are called where nothing else leads."""
    query = select(ModelVersion.id, ModelVersion.name).where(ModelVersion.id.in_(keys))
    return {row.id: row.name for row in session.execute(query)}


def code(stage: Stage) -> str:
    """What a stage is called where nobody has other words for it."""
    return stage.value


def compare(
    session: Session, keys: Sequence[uuid.UUID], called: Called = own_names, stage_name: StageName = code
) -> JobComparison:
    """404 for a job that does not exist, 422 for fewer than two different ones or more than eight.

    `called` says what the models that they read are called where the comparison is shown, `stage_name` what a job
    without a name is.
    """
    jobs = [service.get(session, key) for key in several(keys, "job")]
    labels = labelled(jobs, stage_name)
    models = _models(session, jobs)
    shown = [
        ComparedJob(
            id=job.id,
            label=label,
            stage=job.stage,
            state=job.state,
            model=models.get(job.id),
            created_at=job.created_at,
        )
        for job, label in zip(jobs, labels, strict=True)
    ]
    found = differences(*(job.config | {"GPUs": job.gpus} for job in jobs))
    inputs = differences(*(_inputs(session, job, called, stage_name) for job in jobs))
    return JobComparison(
        jobs=shown,
        notes=list(_notes(session, jobs, labels)),
        settings=[SettingRow(name=each.name, values=list(each.values)) for each in (*inputs, *found)],
        numbers=rows([_numbers(session, job) for job in jobs]),
        charts=_charts(session, jobs, labels),
    )


def _inputs(session: Session, job: Job, called: Called, stage_name: StageName) -> dict[str, str]:
    """What the job reads, by role: the name of each thing with the beginning of its id."""
    found = {}
    for role, value in job.inputs.items():
        given = value if isinstance(value, list) else [value]
        found[role] = ", ".join(_named(session, each, called, stage_name) for each in given)
    return found


def _named(session: Session, reference: Any, called: Called, stage_name: StageName) -> str:
    kind, key = (
        next(iter(reference.items())) if isinstance(reference, dict) and reference else ("project", str(reference))
    )
    if kind == "job" and (made := _made_by(session, uuid.UUID(key))):  # named by its job or by its id, it is one model
        kind, key = "model", str(made)
    name = name_of(session, kind, uuid.UUID(key), called, stage_name) if kind in NAMED else kind
    return f"{name} ({key[:8]})" if name else key[:8]


def _made_by(session: Session, job: uuid.UUID) -> uuid.UUID | None:
    return session.scalar(select(ModelVersion.id).where(ModelVersion.job_id == job))


def name_of(session: Session, kind: str, key: uuid.UUID, called: Called, stage_name: StageName) -> str | None:
    """What something that a job reads is called; None where it is gone, or not the reader's to see."""
    row = session.get(NAMED[kind], key)
    match row:
        case ModelVersion():
            return called(session, [row.id])[row.id]
        case Snapshot(name=None):
            return _frozen_from(session, row)
        case Job(name=None):
            return stage_name(row.stage)
    return row.name if row else None


def _frozen_from(session: Session, snapshot: Snapshot) -> str | None:
    """The name of the project or of the first data set whose rows it holds."""
    project, datasets = snapshot.sources.get("project"), snapshot.sources.get("datasets")
    if datasets:
        dataset = session.get(Dataset, uuid.UUID(datasets[0]))
        return dataset.name if dataset else None
    found = session.get(Project, uuid.UUID(project)) if project else None
    return found.name if found else None


def several(keys: Sequence[uuid.UUID], of: str) -> list[uuid.UUID]:
    """Each once, in the order in which they were named."""
    found = list(dict.fromkeys(keys))
    if not FEWEST <= len(found) <= MOST:
        message = Sentence(
            "name-different-ones",
            "Name %(fewest)s to %(most)s different ones; %(found)s were named.",
            fewest=FEWEST,
            most=MOST,
            found=len(found),
        )
        raise invalid([Problem(pointer=f"query:{of}", message=message, value=len(found))])
    return found


def labelled(jobs: Sequence[Job], stage_name: StageName) -> list[str]:
    """Their names, or their stages', each once: one that is taken gets the beginning of the id."""
    names = [job.name or stage_name(job.stage) for job in jobs]
    return [
        name if names.count(name) == 1 else f"{name} {str(job.id)[:8]}" for name, job in zip(names, jobs, strict=True)
    ]


def _models(session: Session, jobs: Sequence[Job]) -> dict[uuid.UUID, uuid.UUID]:
    query = select(ModelVersion.job_id, ModelVersion.id).where(ModelVersion.job_id.in_([job.id for job in jobs]))
    return {job: model for job, model in session.execute(query) if job}


def _notes(session: Session, jobs: Sequence[Job], labels: Sequence[str]) -> Iterable[str]:
    if len({job.stage for job in jobs}) > 1:
        english = "They are of different stages: only what has the same name stands side by side."
        yield Sentence("jobs-of-other-stages", english)
    pruned = select(Artifact.job_id).where(
        Artifact.job_id.in_([job.id for job in jobs]), Artifact.removed_at.is_not(None)
    )
    gone = set(session.scalars(pruned))
    for job, label in zip(jobs, labels, strict=True):
        if job.id in gone:
            english = "Files of %(label)s were removed; its settings, numbers and curves are still here."
            yield Sentence("job-files-removed", english, label=label)
        if job.result is None:
            english = "%(label)s has not succeeded: it has no final numbers yet."
            yield Sentence("job-without-numbers", english, label=label)


# ---------------------------------------------------------------- numbers

Numbers = Mapping[str, ComparedNumber]


def _numbers(session: Session, job: Job) -> Numbers:
    found = dict(numbers_of((job.result or {}).get("metrics") or {}))
    if job.stage is Stage.PPO:
        samples = ((job.result or {}).get("details") or {}).get("samples") or []
        found |= {**people_of(session, job), **gains_of(samples)}
    return found


def gains_of(samples: Sequence[Mapping[str, Any]]) -> Numbers:
    """What the reward model gives the kept policy's replies above the SFT policy's, for each criterion."""
    gains: dict[str, list[float]] = {}
    for row in samples:
        gains.setdefault(row.get("criterion") or ALL_PROMPTS, []).append(row["score_after"] - row["score_before"])
    return {f"score_gain ({criterion})": _mean(values) for criterion, values in sorted(gains.items())}


def _mean(values: Sequence[float]) -> ComparedNumber:
    low, high = interval95(values, bounds=None) if len(values) > 1 else (None, None)
    return ComparedNumber(value=fmean(values), low=low, high=high)


def numbers_of(metrics: Mapping[str, Any]) -> Numbers:
    """`x` with `x_low` and `x_high` as its interval; other numbers without."""
    known = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
    ends = {name + end for name in known for end in ENDS if {name + each for each in ENDS} <= known.keys()}
    return {
        name: ComparedNumber(value=value, low=known.get(f"{name}_low"), high=known.get(f"{name}_high"))
        for name, value in known.items()
        if name not in ends
    }


def people_of(session: Session, job: Job) -> Numbers:
    """What people say of the last evaluation that anybody has judged."""
    return people_of_each(session, [job])[job.id]


def people_of_each(session: Session, jobs: Sequence[Job]) -> dict[uuid.UUID, Numbers]:
    found = queries.comparisons_of(session, [job.id for job in jobs])
    return {job: _last_rated(comparisons) for job, comparisons in found.items()}


def _last_rated(comparisons: Sequence[Comparison]) -> Numbers:
    rated = [row for row in win_rates(comparisons) if row.rate is not None]
    if not rated:
        return {}
    last = rated[-1]
    return {"human_win_rate": ComparedNumber(value=last.rate or 0.0, low=last.low, high=last.high)}


def rows(sides: Sequence[Numbers]) -> list[NumberRow]:
    """A row for each number, in the order of first sight."""
    names = dict.fromkeys(itertools.chain.from_iterable(sides))
    return [NumberRow(name=name, values=[side.get(name) for side in sides]) for name in names]


def _charts(session: Session, jobs: Sequence[Job], labels: Sequence[str]) -> list[ChartGroup]:
    found: dict[tuple[str, str], list[ChartSeries]] = {}
    buckets = 400 // len(jobs)
    for job, label in zip(jobs, labels, strict=True):
        for each in thin_series(session, job.id, buckets=buckets):
            points = [(step, value) for step, value in each.points if value is not None]
            name = f"{label}: {each.phase}: {each.name}"
            if points:
                found.setdefault((each.phase, each.name), []).append(ChartSeries(name=name, label=label, points=points))
    return charted(found)
