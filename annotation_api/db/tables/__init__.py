"""Every table. Plain Postgres 15 or newer, no extension.

Rules that the columns express: what was said is never changed (responses, submissions, reviews, decisions, snapshot
rows, job events and the audit are append-only, by trigger, but for `db.erasing`, which empties them); people are
deactivated, never deleted; every write of a running job names the epoch of its lease.
"""

from __future__ import annotations

from annotation_api.db.kinds import DatasetKind as DatasetKind
from annotation_api.db.kinds import JobState as JobState
from annotation_api.db.kinds import ModelKind as ModelKind
from annotation_api.db.kinds import Role as Role
from annotation_api.db.tables.annotation import Assignment as Assignment
from annotation_api.db.tables.annotation import AssignmentState as AssignmentState
from annotation_api.db.tables.annotation import Draft as Draft
from annotation_api.db.tables.annotation import Submission as Submission
from annotation_api.db.tables.annotation import Task as Task
from annotation_api.db.tables.annotation import TaskResponse as TaskResponse
from annotation_api.db.tables.audit import AuditOutcome as AuditOutcome
from annotation_api.db.tables.audit import AuditRow as AuditRow
from annotation_api.db.tables.base import Base as Base
from annotation_api.db.tables.data import Dataset as Dataset
from annotation_api.db.tables.data import DatasetRow as DatasetRow
from annotation_api.db.tables.data import PromptRow as PromptRow
from annotation_api.db.tables.data import ResponseRow as ResponseRow
from annotation_api.db.tables.data import Snapshot as Snapshot
from annotation_api.db.tables.data import SnapshotRow as SnapshotRow
from annotation_api.db.tables.erasures import Erasure as Erasure
from annotation_api.db.tables.erasures import ErasureState as ErasureState
from annotation_api.db.tables.freezes import Freeze as Freeze
from annotation_api.db.tables.freezes import FreezeState as FreezeState
from annotation_api.db.tables.jobs import AttemptOutcome as AttemptOutcome
from annotation_api.db.tables.jobs import DispatcherRow as DispatcherRow
from annotation_api.db.tables.jobs import HomeRow as HomeRow
from annotation_api.db.tables.jobs import Job as Job
from annotation_api.db.tables.jobs import JobAttempt as JobAttempt
from annotation_api.db.tables.jobs import JobDependency as JobDependency
from annotation_api.db.tables.jobs import Pipeline as Pipeline
from annotation_api.db.tables.jobs import RayState as RayState
from annotation_api.db.tables.models import MAKES as MAKES
from annotation_api.db.tables.models import Alias as Alias
from annotation_api.db.tables.models import AliasMove as AliasMove
from annotation_api.db.tables.models import ModelParent as ModelParent
from annotation_api.db.tables.models import ModelVersion as ModelVersion
from annotation_api.db.tables.models import made_name as made_name
from annotation_api.db.tables.people import ApiKey as ApiKey
from annotation_api.db.tables.people import Invitation as Invitation
from annotation_api.db.tables.people import LoginSession as LoginSession
from annotation_api.db.tables.people import MadeFrom as MadeFrom
from annotation_api.db.tables.people import PasswordReset as PasswordReset
from annotation_api.db.tables.people import Person as Person
from annotation_api.db.tables.people import RecoveryCode as RecoveryCode
from annotation_api.db.tables.projects import FeedbackKind as FeedbackKind
from annotation_api.db.tables.projects import Form as Form
from annotation_api.db.tables.projects import Project as Project
from annotation_api.db.tables.projects import ProjectMember as ProjectMember
from annotation_api.db.tables.quality import Comment as Comment
from annotation_api.db.tables.quality import GoldAnswer as GoldAnswer
from annotation_api.db.tables.quality import GoldItem as GoldItem
from annotation_api.db.tables.quality import GoldUse as GoldUse
from annotation_api.db.tables.quality import PersonStanding as PersonStanding
from annotation_api.db.tables.quality import QualityRules as QualityRules
from annotation_api.db.tables.quality import Review as Review
from annotation_api.db.tables.quality import ReviewOutcome as ReviewOutcome
from annotation_api.db.tables.quality import TaskDecision as TaskDecision
from annotation_api.db.tables.requests import IdempotencyKey as IdempotencyKey
from annotation_api.db.tables.requests import RateCounter as RateCounter
from annotation_api.db.tables.results import Artifact as Artifact
from annotation_api.db.tables.results import CheckpointRow as CheckpointRow
from annotation_api.db.tables.results import EvaluatedPolicy as EvaluatedPolicy
from annotation_api.db.tables.results import JobEventRow as JobEventRow
from annotation_api.db.tables.results import Metric as Metric
from annotation_api.db.tables.tallies import AgreementSum as AgreementSum
from annotation_api.db.tables.tallies import AgreementValue as AgreementValue
from annotation_api.db.tables.tallies import JudgedDay as JudgedDay
from annotation_api.db.tables.tallies import ModelWin as ModelWin
from annotation_api.db.tables.tallies import PendingJudgement as PendingJudgement
from annotation_api.db.tables.tallies import TaskCount as TaskCount
from annotation_api.db.tables.tallies import TaskDelta as TaskDelta
