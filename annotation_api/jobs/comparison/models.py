"""Models side by side: their numbers with intervals, and what policies reply to the same held-out prompts.

Replies come from PPO's results: a policy's are those of its own job, an SFT model's those that its policies were
compared with. Both stand beside the prompt, so that two runs on the same held-out prompts meet there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared import gate
from alignment.shared.config import GateConfig, Stage
from alignment.shared.intervals import interval95
from alignment.shared.sentence import Sentence
from annotation_api.db.tables import Alias, Job, ModelKind, ModelParent, ModelVersion
from annotation_api.http.errors import not_found
from annotation_api.jobs.comparison.jobs import Called, Numbers, numbers_of, own_names, people_of, rows, several
from annotation_api.jobs.comparison.promotion import promotion
from annotation_api.jobs.comparison.schemas import ComparedModel, ComparedNumber, ModelComparison, PromptReplies

PROMPTS_SHOWN = 24
AGREES = "agrees_with_the_first"
Replies = dict[str, str]  # by the text of the prompt


def compare(session: Session, keys: Sequence[uuid.UUID], called: Called = own_names) -> ModelComparison:
    """404 for a model that does not exist, 422 for fewer than two different ones or more than eight.

    `called` says what the models are called where the comparison is shown.
    """
    models = [_get(session, key) for key in several(keys, "model")]
    jobs = {model.id: session.get(Job, model.job_id) if model.job_id else None for model in models}
    replies = [_replies(session, model, jobs[model.id]) for model in models]
    labels = _labels(models, called(session, [model.id for model in models]))
    aliases = _aliases(session, models)
    agreements = agreements_of([_prefers(jobs[model.id]) for model in models])
    numbers: list[Numbers] = [
        {**_numbers(session, row, jobs[row.id], said), **agreed}
        for row, said, agreed in zip(models, replies, agreements, strict=True)
    ]
    sides = [(model.kind, found) for model, found in zip(models, numbers, strict=True)]
    return ModelComparison(
        models=[
            ComparedModel(id=row.id, label=label, kind=row.kind, aliases=aliases.get(row.id, []), job=row.job_id)
            for row, label in zip(models, labels, strict=True)
        ],
        notes=list(_notes(models, labels, replies)),
        numbers=rows(numbers),
        promotion=promotion(*sides) if len(sides) == 2 else None,
        prompts=list(_side_by_side(replies)),
    )


def _get(session: Session, key: uuid.UUID) -> ModelVersion:
    found = session.get(ModelVersion, key)
    if found is None:
        raise not_found("model", key)
    return found


def _labels(models: Sequence[ModelVersion], called: Mapping[uuid.UUID, str]) -> list[str]:
    """Each once: one that is taken gets the beginning of the id."""
    names = [called[model.id] for model in models]
    return [
        name if names.count(name) == 1 else f"{name} {str(row.id)[:8]}" for name, row in zip(names, models, strict=True)
    ]


def _aliases(session: Session, models: Sequence[ModelVersion]) -> dict[uuid.UUID, list[str]]:
    found: dict[uuid.UUID, list[str]] = {}
    for alias in session.scalars(
        select(Alias).where(Alias.model_id.in_([row.id for row in models])).order_by(Alias.name)
    ):
        found.setdefault(alias.model_id, []).append(alias.name)
    return found


def _notes(models: Sequence[ModelVersion], labels: Sequence[str], replies: Sequence[Replies]) -> Iterator[str]:
    if len({row.kind is ModelKind.REWARD for row in models}) > 1:
        english = "Reward models and models that write share few numbers: compare like with like."
        yield Sentence("models-unlike", english)
    for row, label, said in zip(models, labels, replies, strict=True):
        if row.removed_at is not None:
            english = "The files of %(label)s were removed; its numbers are still here."
            yield Sentence("compared-model-removed", english, label=label)
        if row.kind is not ModelKind.REWARD and not said:
            english = "No PPO run has kept replies of %(label)s to held-out prompts."
            yield Sentence("model-without-replies", english, label=label)
    asked = [set(said) for said in replies if said]
    if len(asked) > 1 and not set.intersection(*asked):
        english = "No held-out prompt was asked of all of them: their numbers come from different prompts."
        yield Sentence("models-of-other-prompts", english)


def _samples(job: Job) -> list[Mapping[str, Any]]:
    return ((job.result or {}).get("details") or {}).get("samples") or []


def _replies(session: Session, model: ModelVersion, job: Job | None) -> Replies:
    if job is not None and job.stage is Stage.PPO:
        return {row["prompt"]: row["after"] for row in _samples(job)}
    start = select(ModelParent.model_id).where(ModelParent.parent_id == model.id, ModelParent.relation == "start")
    children = select(Job).join(ModelVersion, ModelVersion.job_id == Job.id).where(ModelVersion.id.in_(start))
    runs = session.scalars(children.where(Job.stage == Stage.PPO).order_by(Job.created_at)).all()
    return {row["prompt"]: row["before"] for run in runs for row in _samples(run)}


def _numbers(session: Session, model: ModelVersion, job: Job | None, said: Replies) -> Numbers:
    found = dict(numbers_of(model.metrics))
    if job is not None and job.stage is Stage.PPO:
        found |= people_of(session, job)
    if said:
        found["mean_reply_characters"] = ComparedNumber(value=fmean(map(len, said.values())))
    if model.kind is ModelKind.REWARD and model.metrics:
        passed = gate.decide(model.metrics, GateConfig()).outcome is gate.GateOutcome.PASSED
        found["passes_the_gate"] = ComparedNumber(value=float(passed))
    return found


def _prefers(job: Job | None) -> Mapping[str, float]:
    """What a reward model prefers, by the pair of held-out responses."""
    return ((job.result if job else None) or {}).get("details", {}).get("heldout_prefers") or {}


def agreements_of(sides: Sequence[Mapping[str, float]]) -> list[Numbers]:
    """How often each prefers, of the held-out pairs that both were measured on, what the first one prefers."""
    first, *others = sides
    return [{}, *({AGREES: found} if (found := _agreement(first, other)) else {} for other in others)]


def _agreement(first: Mapping[str, float], other: Mapping[str, float]) -> ComparedNumber | None:
    """With its interval: a prompt is one observation, its pairs are not independent."""
    shared: dict[str, list[float]] = {}
    for pair in sorted(first.keys() & other.keys()):
        shared.setdefault(pair.partition("-")[0], []).append(1 - abs(first[pair] - other[pair]))
    if not shared:
        return None
    totals, counts = [sum(same) for same in shared.values()], [len(same) for same in shared.values()]
    low, high = interval95(totals, counts)
    return ComparedNumber(value=sum(totals) / sum(counts), low=low, high=high)


def _side_by_side(replies: Sequence[Replies]) -> Iterator[PromptReplies]:
    """The prompts that most of the models were asked, first those that all were."""
    prompts = dict.fromkeys(prompt for said in replies for prompt in said)
    asked = {prompt: sum(prompt in said for said in replies) for prompt in prompts}
    shown = sorted((prompt for prompt in prompts if asked[prompt] > 1), key=lambda prompt: -asked[prompt])
    for prompt in shown[:PROMPTS_SHOWN]:
        yield PromptReplies(prompt=prompt, replies=[said.get(prompt) for said in replies])
