"""Every table. Plain Postgres 15 or newer, no extension.

Rules that the columns express: what was said is never changed (responses, submissions, snapshot
rows, job events and the audit are append-only, by trigger); people are deactivated, never deleted; every write
of a running job names the epoch of its lease.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy import (
    text as sql,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from alignment.shared.config import Stage
from annotation_api.db.kinds import DatasetKind as DatasetKind
from annotation_api.db.kinds import JobState as JobState
from annotation_api.db.kinds import ModelKind as ModelKind
from annotation_api.db.kinds import Role as Role

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        uuid.UUID: UUID(as_uuid=True),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        str: Text,
    }


def _id() -> Mapped[uuid.UUID]:
    return mapped_column(primary_key=True, default=uuid.uuid4)


def _now() -> Mapped[datetime]:
    """The database's clock; leases and order never depend on a client's."""
    return mapped_column(server_default=func.now(), nullable=False)


def _enum(kind: type[StrEnum]) -> Enum:
    """Stored as text with a check, so that a new value is an ordinary migration."""
    return Enum(kind, native_enum=False, create_constraint=True, values_callable=lambda e: [m.value for m in e])


# ---------------------------------------------------------------- people


class Person(Base):
    __tablename__ = "people"
    id: Mapped[uuid.UUID] = _id()
    email: Mapped[str] = mapped_column(unique=True)  # stored in lower case
    name: Mapped[str]
    role: Mapped[Role] = mapped_column(_enum(Role))
    password_hash: Mapped[str]  # Argon2id
    pseudonym: Mapped[str] = mapped_column(unique=True)  # what exports show
    active: Mapped[bool] = mapped_column(server_default=sql("true"))
    language: Mapped[str | None]  # of the interface: en or zh; unset: as the browser asks
    erased_at: Mapped[datetime | None]  # name and address are gone, the pseudonym stays with the work
    totp_secret: Mapped[str | None]  # of the second factor; before `second_factor_at` one that is being set up
    totp_step: Mapped[int | None] = mapped_column(BigInteger)  # of the newest code that was used: none works twice
    second_factor_at: Mapped[datetime | None]  # since when it is asked for at sign-in
    created_at: Mapped[datetime] = _now()


class LoginSession(Base):
    """A signed-in browser; the cookie holds the token, the row only its hash."""

    __tablename__ = "login_sessions"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), index=True)
    created_at: Mapped[datetime] = _now()
    seen_at: Mapped[datetime] = _now()  # not to the minute; one that rests for too long is over
    expires_at: Mapped[datetime]


class RecoveryCode(Base):
    """Works once in place of a code of the second factor; gone when it was used."""

    __tablename__ = "recovery_codes"
    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), index=True)


class PasswordReset(Base):
    """A one-time link with which a person sets a new password; gone when it was used."""

    __tablename__ = "password_resets"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), index=True)
    created_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime]


class MadeFrom(StrEnum):
    """How a key came to be, which says what ends it besides its own end."""

    SESSION = "session"  # by a person who was signed in: a new password ends it
    KEY = "key"  # by means of another key: that one's end is its end
    MACHINE = "machine"  # on the machine that runs the service


class ApiKey(Base):
    __tablename__ = "api_keys"
    id: Mapped[uuid.UUID] = _id()
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), index=True)
    name: Mapped[str]
    prefix: Mapped[str]  # the first characters, so that a person can tell keys apart
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[Any] | None]  # unset: everything that the person's role allows
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("api_keys.id"), index=True)
    made_from: Mapped[MadeFrom] = mapped_column(_enum(MadeFrom), server_default="machine")
    created_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Invitation(Base):
    """A one-time link that makes a person of a role; the first-run set-up link is one for an admin."""

    __tablename__ = "invitations"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[Role] = mapped_column(_enum(Role))
    created_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime]
    used_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("people.id"))


# ---------------------------------------------------------------- data


class Project(Base):
    __tablename__ = "projects"
    id: Mapped[uuid.UUID] = _id()
    name: Mapped[str] = mapped_column(unique=True)
    guidelines: Mapped[str] = mapped_column(server_default="")
    overlap: Mapped[int] = mapped_column(server_default=sql("1"))  # judgements wanted for a task
    responses_per_task: Mapped[int] = mapped_column(server_default=sql("4"))  # K of tasks made from prompts
    lease_seconds: Mapped[int] = mapped_column(server_default=sql("300"))
    daily_limit: Mapped[int | None]  # tasks that a person may judge in a day; unset: no limit
    open: Mapped[bool] = mapped_column(server_default=sql("true"))  # to everybody; else to its members and admins
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = _now()


class ProjectMember(Base):
    """Sees the project and what hangs on it, as far as the role goes."""

    __tablename__ = "project_members"
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), primary_key=True, index=True)
    created_at: Mapped[datetime] = _now()


class FeedbackKind(StrEnum):
    """The three forms in which people judge; a task, its form and its submissions are of one kind."""

    RANKING = "ranking"  # an order of K responses
    QUESTIONS = "questions"  # answers to fixed questions on a response or a pair
    RULES = "rules"  # whether a response breaks rules


class Form(Base):
    """What is asked in a task, as data (`db.forms`). Never changed: a new wording is a new version."""

    __tablename__ = "forms"
    __table_args__ = (UniqueConstraint("project_id", "kind", "version"),)
    id: Mapped[uuid.UUID] = _id()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    kind: Mapped[FeedbackKind] = mapped_column(_enum(FeedbackKind))
    version: Mapped[int]  # from 1, for a kind in a project; the newest is used by new tasks
    spec: Mapped[dict[str, Any]]
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = _now()


class Dataset(Base):
    """An imported file, whole: its rows are `alignment.shared.records` in canonical form."""

    __tablename__ = "datasets"
    id: Mapped[uuid.UUID] = _id()
    name: Mapped[str]
    kind: Mapped[DatasetKind] = mapped_column(_enum(DatasetKind))
    format: Mapped[str]
    project_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("projects.id"))
    sha256: Mapped[str] = mapped_column(String(64))  # of the file as uploaded
    accepted: Mapped[int]
    duplicates: Mapped[int]
    rejected: Mapped[int]
    # {"map": {field: column}, "columns": [...]} where columns were named by hand
    mapping: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = _now()


class DatasetRow(Base):
    """One record. Demonstrations and conversations hold Demonstration, preferences and rankings
    hold Ranking, prompts hold Prompt."""

    __tablename__ = "dataset_rows"
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)  # physical row in the source, from 1
    part: Mapped[int] = mapped_column(primary_key=True, server_default=sql("0"))  # a tree or chat row gives several
    record_hash: Mapped[str] = mapped_column(String(64))
    record: Mapped[dict[str, Any]]


class PromptRow(Base):
    __tablename__ = "prompts"
    __table_args__ = (UniqueConstraint("project_id", "key"),)
    id: Mapped[uuid.UUID] = _id()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    key: Mapped[str] = mapped_column(String(64))  # records.Prompt.key
    record: Mapped[dict[str, Any]]  # records.Prompt
    created_at: Mapped[datetime] = _now()


class ResponseRow(Base):
    """Immutable. Knows the model version and the sampling settings that made it, or the import."""

    __tablename__ = "responses"
    __table_args__ = (Index("ix_responses_prompt_text", "prompt_id", "text_hash"),)
    id: Mapped[uuid.UUID] = _id()
    prompt_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("prompts.id"))
    text: Mapped[str]
    text_hash: Mapped[str] = mapped_column(String(64))
    model_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("model_versions.id"), index=True)
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id"))
    sampling: Mapped[dict[str, Any]] = mapped_column(server_default=sql("'{}'::jsonb"))
    created_at: Mapped[datetime] = _now()


# ---------------------------------------------------------------- annotation


class Task(Base):
    """Responses of one prompt to be judged by `overlap` people: K to rank, one or two to ask about."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index("ix_tasks_list", "project_id", "created_at", "id"),
        Index(
            "ix_tasks_open",
            "project_id",
            sql("priority DESC"),
            "created_at",
            "id",
            postgresql_where=sql("judged < overlap"),
        ),
    )
    id: Mapped[uuid.UUID] = _id()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    prompt_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("prompts.id"))
    kind: Mapped[FeedbackKind] = mapped_column(_enum(FeedbackKind), server_default="ranking")
    form_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("forms.id"))
    rules: Mapped[list[Any] | None]  # of a rules task: the ids to probe; unset: all of the form
    overlap: Mapped[int]
    judged: Mapped[int] = mapped_column(server_default=sql("0"))  # submitted assignments; changed under the row's lock
    priority: Mapped[int] = mapped_column(server_default=sql("0"))
    created_at: Mapped[datetime] = _now()


class TaskResponse(Base):
    __tablename__ = "task_responses"
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)  # from 0; the order of sampling, never shown
    response_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("responses.id"))


class AssignmentState(StrEnum):
    LEASED = "leased"  # a person has it, until lease_until
    SUBMITTED = "submitted"  # a judgement came
    SKIPPED = "skipped"  # the person passed, with a reason
    EXPIRED = "expired"  # the lease ran out and somebody else may have the place


class Assignment(Base):
    __tablename__ = "assignments"
    __table_args__ = (
        Index(
            "uq_assignments_live",
            "task_id",
            "person_id",
            unique=True,
            postgresql_where=sql("state IN ('leased', 'submitted', 'skipped')"),
        ),
        Index("ix_assignments_person", "person_id", "state"),
    )
    id: Mapped[uuid.UUID] = _id()
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"), index=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    state: Mapped[AssignmentState] = mapped_column(_enum(AssignmentState))
    display_order: Mapped[list[Any]]  # response ids as strings, in the order shown
    lease_until: Mapped[datetime]
    skip_reason: Mapped[str | None]
    created_at: Mapped[datetime] = _now()


class Submission(Base):
    """Append-only. A correction is a new row that supersedes the old one."""

    __tablename__ = "submissions"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)  # made by the client: a retry is the same row
    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    assignment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("assignments.id"), index=True)
    supersedes: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("submissions.id"), unique=True)
    kind: Mapped[FeedbackKind] = mapped_column(_enum(FeedbackKind), server_default="ranking")
    payload: Mapped[dict[str, Any]]  # the payload of its kind in `db.forms`, without defaults
    payload_hash: Mapped[str] = mapped_column(String(64))
    active_ms: Mapped[int | None]  # with the page in view and in use
    total_ms: Mapped[int | None]  # from the first sight of the task
    created_at: Mapped[datetime] = _now()


class Draft(Base):
    """What stands in a form that was not submitted. Never an answer; gone once there is one."""

    __tablename__ = "drafts"
    assignment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("assignments.id"), primary_key=True)
    payload: Mapped[dict[str, Any]]  # as the page wrote it; checked for size only
    updated_at: Mapped[datetime] = _now()


class Snapshot(Base):
    """Training data, frozen: training reads these, never the live tables."""

    __tablename__ = "snapshots"
    id: Mapped[uuid.UUID] = _id()
    kind: Mapped[DatasetKind] = mapped_column(_enum(DatasetKind))
    sources: Mapped[dict[str, Any]]  # {"project": id} or {"datasets": [id, ...]}, and the last submission seq seen
    sha256: Mapped[str] = mapped_column(String(64))  # of the canonical JSONL
    rows: Mapped[int]
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = _now()


class SnapshotRow(Base):
    __tablename__ = "snapshot_rows"
    snapshot_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("snapshots.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    line: Mapped[str]  # one canonical line of a record in alignment.shared.records
    submission_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("submissions.id"), index=True)
    dataset_id: Mapped[uuid.UUID | None]
    dataset_row: Mapped[int | None]


# ---------------------------------------------------------------- jobs


class Pipeline(Base):
    """SFT, reward and PPO in turn; its state is read off its jobs."""

    __tablename__ = "pipelines"
    id: Mapped[uuid.UUID] = _id()
    spec: Mapped[dict[str, Any]]
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = _now()


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        Index(
            "ix_jobs_claim",
            sql("priority DESC"),
            "created_at",
            "id",
            postgresql_where=sql("state = 'queued'"),
        ),
        Index("ix_jobs_list", "created_at", "id"),
        Index("ix_jobs_live", "created_by", postgresql_where=sql("lease_until IS NOT NULL")),
        CheckConstraint("(lease_until IS NULL) = (state NOT IN ('starting', 'running', 'committing'))", name="lease"),
    )
    id: Mapped[uuid.UUID] = _id()
    stage: Mapped[Stage] = mapped_column(_enum(Stage))
    state: Mapped[JobState] = mapped_column(_enum(JobState))
    reason: Mapped[str | None]
    reason_detail: Mapped[str | None]  # what exactly it waits for
    reason_since: Mapped[datetime | None]
    pipeline_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("pipelines.id"), index=True)
    inputs: Mapped[dict[str, Any]]  # model, reward_model: {"model": id} or {"job": id}; snapshots: {"snapshot": id}
    config: Mapped[dict[str, Any]]  # resolved: every setting of the stage's config class
    gpus: Mapped[float] = mapped_column(Float, server_default=sql("1"))
    priority: Mapped[int] = mapped_column(server_default=sql("0"))
    epoch: Mapped[int] = mapped_column(server_default=sql("0"))  # the fence: rises with each claim
    lease_until: Mapped[datetime | None]
    claimed_by: Mapped[str | None]  # host:pid of the launcher (before it starts: of the dispatcher)
    attempts: Mapped[int] = mapped_column(server_default=sql("0"))  # in a row that saved nothing new, this one included
    max_attempts: Mapped[int] = mapped_column(server_default=sql("5"))
    interruptions: Mapped[int] = mapped_column(server_default=sql("0"))  # in a row: Ray or Postgres was lost
    saved_step: Mapped[int | None]  # the furthest checkpoint
    cancel_requested: Mapped[bool] = mapped_column(Boolean, server_default=sql("false"))
    pause_requested: Mapped[bool] = mapped_column(Boolean, server_default=sql("false"))
    not_before: Mapped[datetime | None]  # backoff after a failed attempt
    progress: Mapped[dict[str, Any] | None]  # the newest events.Progress, with the device in use
    result: Mapped[dict[str, Any] | None]  # {"model": id, "metrics": {...}, "details": {...}}
    error: Mapped[dict[str, Any] | None]  # {"kind", "cause", "next_step", "traceback", "log"}
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = _now()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobDependency(Base):
    """`job_id` stays blocked until `needs_id` has succeeded."""

    __tablename__ = "job_dependencies"
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    needs_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    QUEUED = "queued"  # it gave the job back, or its process died: the job is tried again
    LOST = "lost"  # its lease ran out
    PAUSED = "paused"
    CANCELLED = "cancelled"


class JobAttempt(Base):
    """One claim of a job and how it ended; still at work while `ended_at` is empty."""

    __tablename__ = "job_attempts"
    __table_args__ = (Index("ix_job_attempts_ended", "outcome", postgresql_where=sql("ended_at IS NOT NULL")),)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str]  # host:pid
    claimed_at: Mapped[datetime]
    started_at: Mapped[datetime | None]  # the stage reported its first step
    ended_at: Mapped[datetime | None]
    waited_seconds: Mapped[float] = mapped_column(Float, server_default=sql("0"))  # for a GPU
    outcome: Mapped[AttemptOutcome | None] = mapped_column(_enum(AttemptOutcome))
    error: Mapped[dict[str, Any] | None]  # as the job's, of this attempt


class JobEvent(Base):
    """Append-only; `seq` rises within a job without gaps and is the SSE event id."""

    __tablename__ = "job_events"
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    epoch: Mapped[int]
    type: Mapped[str]  # state, progress, note, samples, look, checkpoint
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = _now()


class Metric(Base):
    __tablename__ = "metrics"
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    phase: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None] = mapped_column(Float)  # NULL: not finite


class EvaluatedPolicy(Base):
    """A candidate that a stage compared, with what it measured; `chosen` is the one that was kept."""

    __tablename__ = "checkpoints"
    id: Mapped[uuid.UUID] = _id()
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), index=True)
    epoch: Mapped[int]
    step: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    chosen: Mapped[bool]
    created_at: Mapped[datetime] = _now()


class CheckpointRow(Base):
    """A checkpoint that an attempt can go on from: a whole folder below checkpoints/<job>/."""

    __tablename__ = "saved_checkpoints"
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)  # path below checkpoints/<job>/, beginning with the epoch
    epoch: Mapped[int]
    step: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))  # of the manifest
    size: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Float)  # what saving took
    created_at: Mapped[datetime] = _now()
    removed_at: Mapped[datetime | None]  # the folder is gone


class Artifact(Base):
    """A file of a job's committed folder."""

    __tablename__ = "artifacts"
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)  # path below the artifact folder
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    removed_at: Mapped[datetime | None]  # the file is gone: `rankloop prune`


class RayState(StrEnum):
    """What a dispatcher knows of Ray."""

    LOCAL = "local"  # each attempt starts its own
    UP = "up"  # launchers get into the cluster
    DOWN = "down"  # launchers do not get into the cluster
    UNUSED = "unused"  # stages run as plain processes


class DispatcherRow(Base):
    """A dispatcher that says now and then that it is there."""

    __tablename__ = "dispatchers"
    id: Mapped[str] = mapped_column(primary_key=True)  # host:pid
    slots: Mapped[int]
    busy: Mapped[int]
    ray: Mapped[RayState] = mapped_column(_enum(RayState))
    started_at: Mapped[datetime] = _now()
    seen_at: Mapped[datetime] = _now()


# ---------------------------------------------------------------- models


# What each training stage makes.
MAKES = {Stage.SFT: ModelKind.SFT, Stage.REWARD: ModelKind.REWARD, Stage.PPO: ModelKind.POLICY}


class ModelVersion(Base):
    """A model in the registry. Its folder holds safetensors and was whole before the row came."""

    __tablename__ = "model_versions"
    id: Mapped[uuid.UUID] = _id()
    name: Mapped[str]
    kind: Mapped[ModelKind] = mapped_column(_enum(ModelKind))
    path: Mapped[str]  # a folder of the service's machine, or a hub id; clients send ids, never this
    sha256: Mapped[str | None] = mapped_column(String(64))  # of the manifest
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id"), unique=True)  # a job makes one version
    snapshot_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("snapshots.id"))
    metrics: Mapped[dict[str, Any]] = mapped_column(server_default=sql("'{}'::jsonb"))
    created_at: Mapped[datetime] = _now()
    removed_at: Mapped[datetime | None]  # its folder is gone: `rankloop prune`


class ModelParent(Base):
    __tablename__ = "model_parents"
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    parent_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    relation: Mapped[str]  # start, reward_model


class Alias(Base):
    """A movable name: champion, sft-current."""

    __tablename__ = "aliases"
    name: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    updated_at: Mapped[datetime] = _now()


# ---------------------------------------------------------------- requests


class IdempotencyKey(Base):
    """A POST that was answered: the same key and body get the same answer."""

    __tablename__ = "idempotency_keys"
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))  # method, path and body
    status: Mapped[int]
    headers: Mapped[dict[str, Any]]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = _now()


class RateCounter(Base):
    """What somebody used up of a limit until `ends_at`; shared by all API processes (`db.limits`)."""

    __tablename__ = "rate_counters"
    key: Mapped[str] = mapped_column(primary_key=True)
    spent: Mapped[int] = mapped_column(BigInteger)
    ends_at: Mapped[datetime] = mapped_column(index=True)


# ---------------------------------------------------------------- audit


class AuditOutcome(StrEnum):
    DONE = "done"
    REPLAYED = "replayed"  # a repeat with the same Idempotency-Key: the stored answer was given again
    FORBIDDEN = "forbidden"  # the person's role does not allow it
    WRONG_CREDENTIALS = "wrong-credentials"  # a sign-in that failed


class AuditRow(Base):
    """Who did what. Append-only; `sha256` seals the row and the one before it (`db.audit`)."""

    __tablename__ = "audit"
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)  # from 1, without gaps
    at: Mapped[datetime]
    person_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("people.id"), index=True)  # unset: nobody
    pseudonym: Mapped[str | None]
    action: Mapped[str]  # method and route, POST /v1/jobs/{job_id}:cancel
    objects: Mapped[dict[str, Any]]  # the ids in the path, by name
    outcome: Mapped[AuditOutcome] = mapped_column(_enum(AuditOutcome))
    request_id: Mapped[str]
    address: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
