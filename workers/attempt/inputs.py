"""What each stage hands to the next: a job's inputs as files, and its model's place in the lineage.

A job row names models and snapshots by id. Here they become folders and JSONL files below the
attempt's staging folder, each checked against the hash that the registry holds.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared import artifact
from alignment.shared.config import Stage
from alignment.shared.sentence import Sentence
from alignment.shared.stages import ModelInput, data_of, inputs_of, main_data, relations
from alignment.untrusted import folder as safe_folder
from alignment.untrusted.adapters import bases_of
from alignment.untrusted.files import UnsafeModel
from annotation_api.db.jobs import graph as job_graph
from annotation_api.db.jobs.records import JobError
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Job, ModelVersion
from workers.attempt.snapshot import write_snapshot
from workers.stage.faults import AttemptError

Pin = Callable[[uuid.UUID, str], str]  # model version, commit that the hub gave -> commit that counts
HUB_SMALL = ["*.json", "*.txt", "*.model", "*.jinja"]  # enough to say whether a model can be used
HUB_FILES = ["*.safetensors", *HUB_SMALL]  # weights as safetensors only


@dataclass(frozen=True)
class Resolved:
    """A job's models and data, found. `models` are named by role (model, reward_model), several of one role by id."""

    stage: Stage
    data: Path  # the snapshot, written out
    snapshot_id: uuid.UUID
    models: dict[str, ModelVersion]
    beside: dict[str, Path]  # the other snapshots, by the name of the input

    def inputs(self, pin: Pin) -> dict[str, Any]:
        """As alignment.shared.stages.INPUTS wants them: every folder whole, hub models fetched. May take minutes."""
        folders = {name: _folder(model, pin) for name, model in self.models.items()}
        several = _several(self.stage)
        models = {several: folders} if several else folders
        return {**models, **self.beside, main_data(self.stage): self.data}

    @property
    def parents(self) -> list[tuple[uuid.UUID, str]]:
        """The lineage of the version that this job makes."""
        return [(model.id, relations()[role]) for role, model in self.models.items()]


def resolve(session: Session, job: Job, folder: Path) -> Resolved:
    """Find the job's models and write its snapshots below `folder`, which must exist.

    Raises AttemptError: BAD_INPUT for what is not there, CORRUPT_CHECKPOINT for what has changed.
    """
    try:
        given = job_graph.resolve_inputs(session, job)
    except JobError as error:
        raise AttemptError(
            ErrorKind.BAD_INPUT,
            Sentence("job-names", "The job's %(error)s.", error=error),
            Sentence("create-anew", "Create the job anew."),
        ) from error
    name, named = main_data(job.stage), data_of(job.stage).keys() & given.keys()
    files = {key: _written(session, given[key], folder / f"{key}.jsonl") for key in named}
    data, snapshot_id = files.pop(name), uuid.UUID(given[name]["snapshot"])
    return Resolved(job.stage, data, snapshot_id, _models(session, job.stage, given), files)


def _several(stage: Stage) -> str | None:
    """The role that several models of a job play, where there is one."""
    return next((name for name, asked in inputs_of(stage).items() if asked.several), None)


def _models(session: Session, stage: Stage, given: Mapping[str, Any]) -> dict[str, ModelVersion]:
    if several := _several(stage):
        return {reference["model"]: _model(session, reference) for reference in given[several]}
    roles = [name for name, asked in inputs_of(stage).items() if isinstance(asked.kind, ModelInput)]
    return {role: _model(session, given[role]) for role in roles if role in given}


def _written(session: Session, reference: Mapping[str, str], to: Path) -> Path:
    write_snapshot(session, uuid.UUID(reference["snapshot"]), to)
    return to


def _model(session: Session, reference: Mapping[str, str]) -> ModelVersion:
    model = session.get(ModelVersion, uuid.UUID(reference["model"]))
    if model is None:
        raise AttemptError(
            ErrorKind.BAD_INPUT,
            Sentence("no-model-version", "There is no model version %(model)s.", model=reference["model"]),
            Sentence("create-anew", "Create the job anew."),
        )
    return model


def pin(session: Session, model: uuid.UUID, commit: str) -> str:
    """Write down which commit of the hub the version is, once; the commit that was written first."""
    row = session.get_one(ModelVersion, model, with_for_update=True)
    row.metrics = {"commit": commit, **row.metrics}
    return str(row.metrics["commit"])


def _folder(model: ModelVersion, pin: Pin) -> Path:
    """The model's folder, whole; a hub id is fetched first."""
    folder = Path(model.path)
    if model.removed_at is not None:
        cause = Sentence(
            "model-files-removed",
            "The files of %(model)s were removed on %(removed_at)s.",
            model=model.name,
            removed_at=f"{model.removed_at:%Y-%m-%d}",
        )
        raise AttemptError(
            ErrorKind.BAD_INPUT, cause, Sentence("other-version", "Use another version, or train it again.")
        )
    if model.job_id is not None:
        _check(model, folder)
        return folder
    if not folder.is_absolute():
        return _require_sound(_fetch(model, pin), None)
    if Path(os.path.realpath(folder)) != folder:
        raise AttemptError(
            ErrorKind.BAD_INPUT,
            Sentence("folder-is-link", "%(folder)s has become a link since it was registered.", folder=folder),
            Sentence("register-anew", "Register the model anew."),
        )
    return _require_sound(folder, model.metrics.get("base"))


def _require_sound(folder: Path, base: str | None) -> Path:
    """A base model is checked again, since its folder may have changed; the stage checks what it loads once more.

    `base`: what its adapters stood on when they were registered, where they are such.
    """
    try:
        below = bases_of(safe_folder.inspect(folder), lambda _: base is not None)
        if (below[0].folder if below else None) != (Path(base) if base else None):
            raise UnsafeModel(
                Sentence(
                    "unsafe-adapters-stand-on-another",
                    "its adapters stand on another model than when it was registered.",
                ),
                Sentence("unsafe-register-anew", "Register it anew."),
            )
    except UnsafeModel as error:
        raise AttemptError(
            ErrorKind.BAD_INPUT,
            Sentence("folder-unusable", "%(folder)s cannot be used: %(cause)s", folder=folder, cause=error.cause),
            error.next_step,
        ) from error
    return folder


def _check(model: ModelVersion, folder: Path) -> None:
    artifact.verify(folder)
    manifest = hashlib.sha256((folder / artifact.MANIFEST).read_bytes()).hexdigest()
    if manifest != model.sha256:
        raise AttemptError(
            ErrorKind.CORRUPT_CHECKPOINT,
            Sentence(
                "folder-not-known",
                "%(folder)s is not what the registry knows as %(model)s: its manifest hashes to %(manifest)s.",
                folder=folder,
                model=model.name,
                manifest=manifest,
            ),
            Sentence("train-or-restore", "Train the stage again or restore the folder."),
        )


def _fetch(model: ModelVersion, pin: Pin) -> Path:
    """The hub's files of a model on this machine, fetched at most once, always of the same commit."""
    hub_id, _, commit = model.path.partition("@")
    folder = _download(hub_id, commit or model.metrics.get("commit"))
    counts = pin(model.id, folder.name)  # a snapshot's folder is named by its commit
    return folder if counts == folder.name else _download(hub_id, counts)


def _download(hub_id: str, commit: str | None) -> Path:
    """The model's files; its weights only once its settings have been found to be a model's that can be used."""
    small = _require_sound(_snapshot(hub_id, commit, HUB_SMALL), None)
    folder = _snapshot(hub_id, small.name, HUB_FILES)  # of the same commit
    if not any(folder.glob("*.safetensors")):
        raise AttemptError(
            ErrorKind.BAD_INPUT,
            Sentence(
                "hub-no-safetensors", "The model %(hub_id)s has no weights as safetensors on the hub.", hub_id=hub_id
            ),
            Sentence(
                "hub-no-safetensors-next",
                "Download it by hand, convert it with `rankloop models convert FOLDER NEW_FOLDER`, and register that.",
            ),
        )
    return folder


def _snapshot(hub_id: str, commit: str | None, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, revision=commit, allow_patterns=files))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise AttemptError(
            ErrorKind.BAD_INPUT,
            Sentence(
                "hub-unreachable",
                "The model %(hub_id)s can be had neither from a folder nor from the hub: %(error)s",
                hub_id=hub_id,
                error=error,
            ),
            Sentence("hub-unreachable-next", "Register a local folder, or check the hub id and the connection."),
        ) from error
