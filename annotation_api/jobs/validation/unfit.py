"""What the door of the queue says of inputs that a stage cannot take."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from alignment.shared.config import preset_names
from alignment.shared.sentence import Sentence, either
from annotation_api.db.tables import Dataset, DatasetKind, Job, ModelKind, ModelVersion, Snapshot

NO_MODEL = Sentence("no-such-model-listed", "There is no such model. GET /v1/models lists them.")
NO_ALIAS = Sentence("no-such-alias", "There is no such alias. GET /v1/aliases lists them.")
NO_JOB = Sentence("no-such-job", "There is no such job.")
NO_PROJECT = Sentence("no-such-project", "There is no such project.")
NO_SNAPSHOT = Sentence("no-such-snapshot", "There is no such snapshot.")
NO_DATASET = Sentence("no-such-dataset", "There is no such data set.")
SEVERAL_KINDS = Sentence(
    "project-holds-several", "A project holds several kinds of data; freeze one and name its snapshot."
)
NO_RANKINGS = Sentence(
    "project-without-ranking", "This project does not ask for rankings; give it a form of the kind ranking."
)


def no_preset() -> Sentence:
    english = "There is no such preset. Presets: %(preset_names)s."
    return Sentence("no-such-preset-of", english, preset_names=", ".join(preset_names()))


def other_model(model: ModelVersion, kinds: Collection[ModelKind]) -> Sentence:
    english = "%(model)s is a %(kind)s model; a %(kinds)s model is needed."
    return Sentence("model-of-other-kind", english, model=model.name, kind=model.kind.value, kinds=any_of(kinds))


def gone(model: ModelVersion, folder: Path) -> Sentence:
    english = "The folder of %(model)s is gone: %(folder)s. Restore it or register another."
    return Sentence("model-folder-gone", english, model=model.name, folder=folder)


def makes_none(job: Job, kinds: Collection[ModelKind]) -> Sentence:
    english = "A %(stage)s job makes no %(kinds)s model."
    return Sentence("job-makes-no-model", english, stage=job.stage.value, kinds=any_of(kinds))


def has_ended(job: Job) -> Sentence:
    english = "That job is %(state)s; retry it first, or name a model."
    return Sentence("job-not-succeeded", english, state=job.state.value)


def other_snapshot(snapshot: Snapshot, kinds: Collection[DatasetKind]) -> Sentence:
    english = "The snapshot holds %(kind)s; %(kinds)s are needed."
    return Sentence("snapshot-of-other-kind", english, kind=snapshot.kind.value, kinds=any_of(kinds))


def erased(snapshot: Snapshot) -> Sentence:
    english = "%(rows)s rows of this snapshot were erased on %(day)s; freeze the data again and name the new one."
    day = f"{snapshot.erased_at:%Y-%m-%d}"
    return Sentence("snapshot-erased", english, rows=snapshot.erased_rows, day=day)


def other_dataset(dataset: Dataset, kinds: Collection[DatasetKind]) -> Sentence:
    english = "%(name)s holds %(kind)s; %(kinds)s are needed."
    return Sentence("dataset-of-other-kind", english, name=dataset.name, kind=dataset.kind.value, kinds=any_of(kinds))


def any_of(kinds: Collection[Any]) -> str:
    return either(sorted(kind.value for kind in kinds))
