"""README.md beside each model, in the hub's layout: what it came from, on what, and how good it was found to be.

The head is YAML as the hub reads it; the rest follows from the lineage: rows and annotators, the gate, the numbers with
their intervals, the settings. What is not known is left out, never made up.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.events import StageResult
from annotation_api.db.erasing import marks
from annotation_api.db.erasing.marks import ErasedFrom
from annotation_api.db.jobs.differences import flat, written
from annotation_api.db.tables import MAKES, Assignment, Job, ModelVersion, Snapshot, SnapshotRow, Submission, made_name
from workers.attempt.inputs import Resolved

CARD = "README.md"
HEAD_BYTES = 4096  # of a base model's own card, in which its licence stands
LICENCE = re.compile(r"^license:\s*([A-Za-z0-9._+-]{1,80})\s*$", re.MULTILINE)
TASKS = {Stage.SFT: "text-generation", Stage.REWARD: "text-classification", Stage.PPO: "text-generation"}
TITLES = {
    Stage.SFT: "A language model, fine-tuned on demonstrations.",
    Stage.REWARD: "A reward model, trained on human rankings.",
    Stage.PPO: "A policy, trained by PPO against a reward model.",
}


@dataclass(frozen=True)
class DataFacts:
    """One snapshot that was read."""

    role: str
    kind: str
    rows: int
    sha256: str
    annotators: int


@dataclass(frozen=True)
class CardFacts:
    """What the database knows of a model that is about to be."""

    name: str
    stage: Stage
    config: Mapping[str, Any]
    parents: Mapping[str, tuple[str, str | None]]  # by role: its name, its licence
    data: tuple[DataFacts, ...]
    erased: ErasedFrom | None = None  # of the data of the models that it starts from


def lineage_of(session: Session, job: Job, resolved: Resolved) -> CardFacts:
    """Read in the attempt's own transaction."""
    parents = {role: (model.name, licence_of(model)) for role, model in resolved.models.items()}
    named = [(role, uuid.UUID(each["snapshot"])) for role, each in job.inputs.items() if _is_snapshot(each)]
    data = tuple(_data(session, role, key) for role, key in named)
    name = job.name or (made_name(job.stage, job.id) if job.stage in MAKES else job.stage.value)
    return CardFacts(name, job.stage, job.config, parents, data, _erased(session, resolved))


def _erased(session: Session, resolved: Resolved) -> ErasedFrom | None:
    """The worst of what became of its parents' data."""
    found = marks.of_models(session, [model.id for model in resolved.models.values()])
    return max(found.values(), key=lambda one: one.rows, default=None)


def _is_snapshot(given: Any) -> bool:
    return isinstance(given, dict) and "snapshot" in given


def _data(session: Session, role: str, key: uuid.UUID) -> DataFacts:
    snapshot = session.get_one(Snapshot, key)
    people = (
        select(func.count(Assignment.person_id.distinct()))
        .join(Submission, Submission.assignment_id == Assignment.id)
        .join(SnapshotRow, SnapshotRow.submission_id == Submission.id)
        .where(SnapshotRow.snapshot_id == key)
    )
    return DataFacts(role, snapshot.kind.value, snapshot.rows, snapshot.sha256, session.scalar(people) or 0)


def licence_of(model: ModelVersion) -> str | None:
    """What the card in the model's folder says; None where it says nothing, or lies elsewhere."""
    path = Path(model.path)
    card = path / CARD
    if not path.is_absolute() or card.is_symlink() or not card.is_file():
        return None
    with card.open("rb") as file:
        text = file.read(HEAD_BYTES).decode(errors="replace")
    found = LICENCE.search(text) if text.startswith("---") else None
    return found[1] if found else None


def write(folder: Path, lineage: CardFacts, result: StageResult) -> None:
    """The card beside the model's weights. Sampling makes no model, and so has none."""
    if lineage.stage in MAKES:
        (folder / CARD).write_text("\n".join(lines(lineage, result)) + "\n", encoding="utf-8")


def lines(lineage: CardFacts, result: StageResult) -> Iterator[str]:
    yield from _head(lineage)
    yield f"# {lineage.name}"
    yield ""
    yield TITLES[lineage.stage]
    yield ""
    yield from _origin(lineage)
    if lineage.erased:
        yield from (lineage.erased.sentence, "")
    yield from _numbers(result.metrics)
    yield from _gate(result.details.get("gate"))
    yield "## Settings"
    yield ""
    yield "| setting | value |"
    yield "|---|---|"
    yield from (f"| `{name}` | {_cell(written(value))} |" for name, value in flat(lineage.config))


def _head(lineage: CardFacts) -> Iterator[str]:
    """YAML whose every value is JSON, which YAML reads as it is."""
    licences = sorted({licence for _, licence in lineage.parents.values() if licence})
    yield "---"
    yield f"library_name: {json.dumps('transformers')}"
    yield f"pipeline_tag: {json.dumps(TASKS[lineage.stage])}"
    yield f"tags: {json.dumps(['rankloop', 'rlhf', lineage.stage.value])}"
    if start := lineage.parents.get("model"):
        yield f"base_model: {json.dumps(start[0], ensure_ascii=False)}"
    if len(licences) == 1:
        yield f"license: {json.dumps(licences[0])}"
    yield "---"
    yield ""


def _origin(lineage: CardFacts) -> Iterator[str]:
    yield "## Where it came from"
    yield ""
    for role, (name, licence) in lineage.parents.items():
        said = f"licence {licence}" if licence else "no licence given"
        yield f"- {role.replace('_', ' ')}: {_cell(name)} ({said})"
    for each in lineage.data:
        people = f", {each.annotators} annotators" if each.annotators else ""
        yield f"- {each.role.replace('_', ' ')}: {each.rows:,} {each.kind}{people}, SHA-256 `{each.sha256}`"
    yield ""


def _numbers(metrics: Mapping[str, float]) -> Iterator[str]:
    """Each number once, with its 95 % interval where it has one; annotators' agreement is among a reward model's."""
    ends = {f"{name}{end}" for name in metrics for end in ("_low", "_high")}
    yield "## What was measured"
    yield ""
    yield "| number | value | 95 % interval |"
    yield "|---|---|---|"
    for name, value in metrics.items():
        if name not in ends:
            low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
            interval = f"{low:.4g} to {high:.4g}" if low is not None and high is not None else ""
            yield f"| {name.replace('_', ' ')} | {value:.4g} | {interval} |"
    yield ""


def _gate(decision: Any) -> Iterator[str]:
    """What the gate before PPO said of the reward model."""
    if not isinstance(decision, Mapping):
        return
    yield "## The gate"
    yield ""
    yield f"The reward model was {decision['outcome']}."
    yield from (f"- {_cell(reason)}" for reason in decision.get("reasons") or ())
    if decision.get("accepted_because"):
        yield f"- Used all the same, because: {_cell(decision['accepted_because'])}"
    yield ""


def _cell(text: str) -> str:
    """On one line, and no column of its own."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
