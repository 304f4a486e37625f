"""The files of a job's committed folder, by the names that the database knows."""

from __future__ import annotations

import base64
from pathlib import Path

from fastapi.responses import FileResponse
from sqlalchemy.orm import Session
from starlette.responses import MalformedRangeHeader, RangeNotSatisfiable, Response

from alignment.shared.sentence import Sentence
from annotation_api.db.tables import Artifact, Job
from annotation_api.http.errors import ApiError, not_found
from annotation_api.settings import Settings


class ArtifactResponse(FileResponse):
    """As FileResponse, but a range that cannot be served is refused as every request is."""

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            detail = Sentence("no-range", "The header Range is no range of bytes; write bytes=0-99, or leave it out.")
            raise ApiError(400, "bad-range", detail) from None
        except RangeNotSatisfiable:
            detail = Sentence(
                "range-outside", "The range lies outside the file, which has %(file_size)s bytes.", file_size=file_size
            )
            raise ApiError(
                416, "range-not-satisfiable", detail, headers={"Content-Range": f"bytes */{file_size}"}
            ) from None


def file_of(session: Session, settings: Settings, job: Job, name: str) -> Path:
    """The file on disk. Only committed names are served, and no link leads out of the folder."""
    return _find(session, settings, job, name)[1]


def _find(session: Session, settings: Settings, job: Job, name: str) -> tuple[Artifact, Path]:
    row = session.get(Artifact, (job.id, name))
    if row is None:
        raise not_found("artifact", name)
    if row.removed_at is not None:
        cause = Sentence(
            "artifact-removed",
            "The file %(name)s of job %(job)s was removed on %(removed_at)s, because nothing needed it.",
            name=name,
            job=job.id,
            removed_at=f"{row.removed_at:%Y-%m-%d}",
        )
        raise ApiError(410, "artifact-gone", cause)
    if row.erased_at is not None:
        cause = Sentence(
            "artifact-erased",
            "The file %(name)s of job %(job)s was erased on %(erased_at)s: it showed data that are gone.",
            name=name,
            job=job.id,
            erased_at=f"{row.erased_at:%Y-%m-%d}",
        )
        raise ApiError(410, "artifact-gone", cause)
    folder = (settings.home / "artifacts" / str(job.id) / str(job.epoch)).resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise ApiError(
            410,
            "artifact-gone",
            Sentence(
                "artifact-gone",
                "The file %(name)s of job %(key)s is no longer in the artifact folder.",
                name=name,
                key=str(job.id),
            ),
        )
    return row, path


def download(session: Session, settings: Settings, job: Job, name: str, known: str | None) -> Response:
    """The file with the hash that was committed; 304 to a client that has it (`known`: its If-None-Match)."""
    row, path = _find(session, settings, job, name)
    stat = path.stat()
    if stat.st_size != row.size:
        detail = Sentence(
            "artifact-size",
            "The file %(name)s of job %(job)s has %(st_size)s bytes; %(size)s were committed. Restore it.",
            name=name,
            job=job.id,
            st_size=stat.st_size,
            size=row.size,
        )
        raise ApiError(410, "artifact-damaged", detail)
    digest = base64.b64encode(bytes.fromhex(row.sha256)).decode()
    headers = {"ETag": f'"{row.sha256}"', "Repr-Digest": f"sha-256=:{digest}:", "Cache-Control": "private, no-cache"}
    if known is not None and row.sha256 in known:
        return Response(status_code=304, headers=headers)
    return ArtifactResponse(
        path, filename=path.name, media_type="application/octet-stream", headers=headers, stat_result=stat
    )
