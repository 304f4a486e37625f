"""Kinds and states that the tables hold and the command line offers; the standard library only."""

from __future__ import annotations

from enum import StrEnum

DEFAULTS = "defaults"  # in place of a preset, of a job that was made without one


class Role(StrEnum):
    ANNOTATOR = "annotator"  # ranks own tasks
    REVIEWER = "reviewer"  # also reads others' annotations
    ENGINEER = "engineer"  # data, jobs, models
    ADMIN = "admin"  # also people and keys


class DatasetKind(StrEnum):
    DEMONSTRATIONS = "demonstrations"
    PREFERENCES = "preferences"
    RANKINGS = "rankings"
    PROMPTS = "prompts"
    CONVERSATIONS = "conversations"
    RESPONSES = "responses"  # of one prompt and not ranked yet: they fill a project's tasks
    ANSWERS = "answers"  # to questions; collected here and frozen, never imported
    VERDICTS = "verdicts"  # on rules; likewise


class ErasureScope(StrEnum):
    RECORD = "record"  # a prompt and what hangs on it
    PERSON = "person"  # what a person answered
    PROJECT = "project"  # everything in a project


class JobState(StrEnum):
    BLOCKED = "blocked"  # waits for another job's artifact
    QUEUED = "queued"  # may be claimed
    STARTING = "starting"  # claimed; `reason` says waiting_gpu, infeasible or loading
    RUNNING = "running"  # the stage reports steps
    COMMITTING = "committing"  # the artifact is written, the rows are next
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # `error` says kind, cause and next step
    PAUSED = "paused"  # its checkpoint waits for somebody to resume it
    CANCELLED = "cancelled"


class ErrorKind(StrEnum):
    """Why a job stopped. Stable: clients switch on these."""

    BAD_INPUT = "bad_input"  # the caller's data, settings or model folder
    DIVERGED = "diverged"  # NaN, Inf or a KL explosion
    OUT_OF_MEMORY = "out_of_memory"  # host or GPU
    DISK_FULL = "disk_full"  # no room for a checkpoint
    CORRUPT_CHECKPOINT = "corrupt_checkpoint"  # a manifest does not match its files
    CRASH = "crash"  # the process that ran the stage died
    CLUSTER = "cluster"  # Ray was lost
    INFEASIBLE = "infeasible"  # no machine of the cluster can ever give what was asked for
    DATABASE = "database"  # Postgres could not be reached for longer than the grace
    QUARANTINED = "quarantined"  # too many attempts in a row got no further: it waits for a person
    CANCELLED = "cancelled"  # somebody asked for it
    INTERNAL = "internal"  # a fault of ours: the traceback is on the job


class ModelKind(StrEnum):
    BASE = "base"
    SFT = "sft"
    REWARD = "reward"
    POLICY = "policy"


class Slice(StrEnum):
    """Of a project's judgements, for which agreement is counted."""

    ALL = "all"
    CRITERION = "criterion"
    LANGUAGE = "language"
    FORM = "form"
    DAY = "day"  # of the later of two judgements
    PERSON = "person"  # with all others
    PAIR = "pair"  # of people
    MAJORITY = "majority"  # a person beside what most others say


class Adjudicated(StrEnum):
    """What a snapshot does where a reviewer decided a task."""

    INSTEAD = "instead"  # the decision stands for all votes on the task
    BESIDE = "beside"  # it is one more answer
    IGNORE = "ignore"  # the votes alone


class PausedPeople(StrEnum):
    """Whether a snapshot holds answers of people who are paused in the project."""

    OUT = "out"
    IN = "in"
