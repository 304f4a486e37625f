"""A finished stage becomes an artifact and rows: the folder first, then one fenced transaction.

Readers trust rows only, so a death between the two leaves a folder for the sweeper and nothing else.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared import artifact
from alignment.shared.config import Stage
from alignment.shared.events import StageResult
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.records import ArtifactFile, ModelToRegister, NewEvaluatedPolicy
from annotation_api.db.tables import MAKES, Job, made_name
from workers.attempt.candidates import add_candidates, tasks_wanted
from workers.attempt.inputs import Resolved
from workers.crashpoints import crash_point
from workers.staging import Folders


@dataclass(frozen=True)
class Published:
    """A folder in its final place."""

    sha256: str  # of its manifest
    files: tuple[ArtifactFile, ...]


def publish(folders: Folders, config: Mapping[str, Any], result: StageResult) -> Published:
    """Write `result.json` beside the stage's files and move the whole folder into place.

    Raises DiskFull when there is no room.
    """
    artifact.write_result(folders.out, config, result)
    crash_point("staging_written")
    digest = artifact.publish(folders.out, folders.artifact, at=crash_point)
    manifest = json.loads((folders.artifact / artifact.MANIFEST).read_bytes())
    files = (ArtifactFile(name, entry["sha256"], entry["size"]) for name, entry in manifest["files"].items())
    return Published(digest, tuple(files))


def commit(session: Session, folders: Folders, resolved: Resolved, published: Published, result: StageResult) -> None:
    """All rows of the finished job. Raises LeaseLost."""
    job = session.get_one(Job, folders.job_id)
    dealt: dict[str, Any] = {}
    if job.stage is Stage.SAMPLE and (project := job.inputs.get("project")):
        dealt = {"tasks": _add_tasks(session, job, uuid.UUID(project), folders, resolved.data)}
    job_store.commit_success(
        session,
        job.id,
        folders.epoch,
        result={"metrics": result.metrics, "details": {**result.details, **dealt}},
        artifacts=published.files,
        model=_model(job, folders, resolved, published, result) if job.stage in MAKES else None,
        checkpoints=[NewEvaluatedPolicy(**candidate) for candidate in result.details.get("checkpoints", ())],
    )


def _add_tasks(session: Session, job: Job, project_id: uuid.UUID, folders: Folders, prompts: Path) -> dict[str, int]:
    """The responses as tasks, counted. An append comes first: it takes the job's lock and checks the fence."""
    job_store.append_events(session, job.id, folders.epoch, [])
    dealt = add_candidates(session, job, project_id, folders.artifact, prompts)
    job_store.append_events(session, job.id, folders.epoch, [Event.note(dealt.said(tasks_wanted(job)))])
    return dealt.counts()


def _model(
    job: Job, folders: Folders, resolved: Resolved, published: Published, result: StageResult
) -> ModelToRegister:
    return ModelToRegister(
        name=made_name(job.stage, job.id),
        kind=MAKES[job.stage],
        path=str(folders.artifact),
        sha256=published.sha256,
        snapshot_id=resolved.snapshot_id,
        metrics=result.metrics,
        parents=resolved.parents,
    )
