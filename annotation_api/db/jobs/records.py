"""What callers of the job store pass in, and what it raises."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from alignment.shared.records import storable
from alignment.shared.sentence import Sentence, parts
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import ModelKind, ModelParent, ModelVersion


class JobError(Exception):
    """A job cannot do what was asked; the message says why."""


class TransitionRefused(JobError):
    """The job's state does not allow this."""


class LeaseLost(JobError):
    """The job was taken back or belongs to a later attempt: stop, discard staging, write nothing."""


class CancelRequested(JobError):
    """Somebody asked to stop this job before its result was to be committed."""


class UnknownJob(JobError):
    """There is no job with this id."""


class Wish(Enum):
    """What somebody asked of a job that is at work; its launcher learns of it at the next renewal."""

    CANCEL = auto()
    PAUSE = auto()  # save, then stop


class Again(Enum):
    """Whether a job whose attempt ended badly is tried again, and which budget that uses up."""

    NEVER = auto()
    CRASH = auto()  # `max_attempts` in a row, unless the attempt got further than any before it
    INTERRUPTED = auto()  # none of its doing, as a lost Ray head: a budget of its own


@dataclass(frozen=True)
class ArtifactFile:
    name: str  # path below the artifact folder
    sha256: str
    size: int


@dataclass(frozen=True)
class ModelToRegister:
    """The model version that a job makes; `parents` are (model id, relation: start or reward_model)."""

    name: str
    kind: ModelKind
    path: str
    sha256: str | None
    snapshot_id: uuid.UUID | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parents: Sequence[tuple[uuid.UUID, str]] = ()

    def version(self, job_id: uuid.UUID) -> ModelVersion:
        return ModelVersion(
            id=uuid.uuid4(),
            name=self.name,
            kind=self.kind,
            path=self.path,
            sha256=self.sha256,
            job_id=job_id,
            snapshot_id=self.snapshot_id,
            metrics=storable(self.metrics),
        )

    def edges(self, model_id: uuid.UUID) -> list[ModelParent]:
        return [ModelParent(model_id=model_id, parent_id=p, relation=relation) for p, relation in self.parents]


@dataclass(frozen=True)
class NewEvaluatedPolicy:
    step: int
    metrics: Mapping[str, Any]
    chosen: bool


@dataclass(frozen=True)
class Failure:
    """Why an attempt ended; becomes the job's `error`."""

    kind: ErrorKind
    cause: str
    next_step: str = ""
    traceback: str | None = None
    log: str | None = None  # the end of what the process wrote

    def as_json(self) -> dict[str, Any]:
        values: dict[str, Any] = {"kind": self.kind.value, "cause": self.cause, "next_step": self.next_step}
        more = {"traceback": self.traceback, "log": self.log}
        if isinstance(self.cause, Sentence):
            values["said"] = [parts(self.cause), parts(self.next_step)]  # for pages in other languages
        stored: dict[str, Any] = storable(values | {name: text for name, text in more.items() if text is not None})
        return stored
