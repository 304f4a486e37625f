"""The files of a job's committed folder, by the names that the database knows."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Session

from annotation_api.db.tables import Artifact, Job
from annotation_api.errors import ApiError, not_found
from annotation_api.settings import Settings


def file_of(session: Session, settings: Settings, job: Job, name: str) -> Path:
    """The file on disk. Only committed names are served, and no link leads out of the folder."""
    if session.get(Artifact, (job.id, name)) is None:
        raise not_found("artifact", name)
    folder = (settings.home / "artifacts" / str(job.id) / str(job.epoch)).resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise ApiError(410, "artifact-gone", f"The file {name} of job {job.id} is no longer in the artifact folder.")
    return path
