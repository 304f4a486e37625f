"""Whether what a job is given is good enough to begin with: enough rankings, a sound reward model, tasks that fit.

Each function gives the sentence that says why not, or None.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared import gate
from alignment.shared.config import PPOConfig
from alignment.shared.errors import StageError
from alignment.shared.methods import SOFT
from alignment.shared.records import Ranking, split_of
from alignment.shared.sentence import Sentence
from alignment.untrusted import adapters
from alignment.untrusted.folder import BOTTLENECK, SOFT_ADAPTERS
from annotation_api.db.forms import MAX_RANKED
from annotation_api.db.tables import Job, ModelVersion
from annotation_api.http.dependencies import SETTINGS
from annotation_api.jobs import queries
from annotation_api.settings import Settings

BOTTLENECKS = ("houlsby", BOTTLENECK)  # as a method, and as adapters in a folder
MIN_RANKINGS = 8  # comparisons on the training side, below which a reward model only memorises


def rankings_problem(session: Session, rankings: uuid.UUID, heldout_fraction: float) -> str | None:
    """A reward model needs comparisons whose prompts are not held out; `rankings` is their snapshot."""
    found = 0
    for line in queries.lines(session, rankings):
        ranking = Ranking.from_line(line)
        found += len(ranking.groups) > 1 and split_of(ranking.prompt, heldout_fraction) == "train"
        if found >= MIN_RANKINGS:
            return None
    english = (
        "Only %(found)s rankings prefer one response to another on the training side (heldout_fraction %(share)s); at "
        "least %(least)s are needed. Collect or import more."
    )
    return Sentence("few-rankings", english, found=found, share=f"{heldout_fraction:g}", least=MIN_RANKINGS)


def teacher_problem(session: Session, name: str | None) -> str | None:
    """An endpoint that is asked must be one that the service's settings allow."""
    settings: Settings | None = session.info.get(SETTINGS)
    if name is None or settings is None or name in settings.teacher_endpoints:
        return None
    allowed = ", ".join(sorted(settings.teacher_endpoints)) or Sentence("none-at-all", "none")
    english = "This endpoint is not allowed. Allowed are: %(allowed)s. An admin lists endpoints in RANKLOOP_TEACHERS."
    return Sentence("endpoint-unlisted", english, allowed=allowed)


def gate_problem(session: Session, reward_model: Mapping[str, str], config: PPOConfig) -> str | None:
    """The reward model must pass the gate by what is known of it now; the stage asks again when it starts."""
    job = reward_model.get("job")
    result = session.get_one(Job, uuid.UUID(job)).result if job else None
    if job and result is None:
        return None  # it is still to be made
    try:
        measured = result["metrics"] if result else _measured(session, uuid.UUID(reward_model["model"]))
    except StageError as error:
        return Sentence("then", "%(first)s %(then)s", first=error.cause, then=error.next_step)
    decision = gate.decide(measured, config.gate, config.accept_reward_model)
    if decision.outcome is not gate.GateOutcome.REFUSED:
        return None
    english = "The gate refuses this reward model: %(words)s %(how)s"
    return Sentence("gate-refuses-this", english, words=decision.words, how=gate.HOW)


def _measured(session: Session, key: uuid.UUID) -> Mapping[str, Any] | None:
    """What the registry, else the report in the model's folder, says; None where neither does."""
    model = session.get_one(ModelVersion, key)
    return model.metrics or gate.read(Path(model.path))


def unmerged_problem(session: Session, model: Mapping[str, str]) -> str | None:
    """A stage that trains starts from weights, and what these methods learn is no part of them."""
    kind = _adapter_kind(session, model)
    if kind in BOTTLENECKS:
        english = (
            "It has bottleneck adapters (houlsby), which cannot be merged into the weights that training starts from. "
            "Sample from it, or train it again with method full, lora, ia3, layers or bitfit."
        )
        return Sentence("bottlenecks-unmerged", english)
    if kind not in (*SOFT, *SOFT_ADAPTERS):
        return None
    english = (
        "It has a soft prompt (%(kind)s), which is no part of the weights that training starts from. Sample from it, "
        "or train it again with method full, lora, ia3, layers or bitfit."
    )
    return Sentence("soft-prompt-unmerged", english, kind=kind)


def critic_problem(session: Session, reward_model: Mapping[str, str], config: PPOConfig) -> str | None:
    """The critic begins as the reward model; over bottleneck adapters, which are never merged, stand only such."""
    if _adapter_kind(session, reward_model) not in BOTTLENECKS or config.tuned == "houlsby":
        return None
    english = (
        "It has bottleneck adapters (houlsby), on which no critic of method %(method)s can begin. Set method to "
        "'houlsby', or train it again with method full, lora, ia3, layers or bitfit."
    )
    return Sentence("critic-on-bottlenecks", english, method=config.tuned)


def _adapter_kind(session: Session, model: Mapping[str, str]) -> str | None:
    """The method of the job that makes the model, or the kind of adapters in its folder."""
    if "job" in model:
        job = session.get(Job, uuid.UUID(model["job"]))
        return job.config.get("method") if job else None
    found = session.get(ModelVersion, uuid.UUID(model["model"])) if model else None
    return adapters.kind_of(Path(found.path)) if found else None


def task_problem(models: int, responses: int) -> str | None:
    """A task holds what all models give in one set; nobody ranks more than MAX_RANKED responses at once."""
    if models * responses <= MAX_RANKED:
        return None
    fit = MAX_RANKED // models
    english = (
        "%(models)s models with %(responses)s responses each make tasks of up to %(all)s responses; a person ranks at "
        "most %(most)s. %(next)s"
    )
    step = Sentence("at-most-fit", "At most %(fit)s fit.", fit=fit) if fit else Sentence("fewer", "Name fewer models.")
    return Sentence(
        "task-too-large",
        english,
        models=models,
        responses=responses,
        all=models * responses,
        most=MAX_RANKED,
        next=step,
    )
