"""`rankloop backup FILE`: the database and every file that it names, while the service runs.

The list of files and the dump come from one snapshot of the database, so the two agree. Files are never
changed once a row names them, and `rankloop prune` waits for a backup; a checkpoint may be swept
meanwhile, which costs a job that is not done some of its steps and nothing else.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, select, text

from annotation_api.db.engine import make_engine
from annotation_api.db.migrate import known_levels, level
from annotation_api.db.tables import Artifact, CheckpointRow, Job, ModelVersion
from annotation_api.operations import archive, dump
from annotation_api.operations.alone import scratch
from annotation_api.operations.archive import FORMAT, Advance, Manifest, Writer
from annotation_api.operations.local import OperationError, files_kept, local_database
from annotation_api.settings import Settings

FOLDER_MANIFEST = "manifest.json"  # as alignment.shared.artifact writes it into every folder
LAST = "backup.json"  # in HOME: where and when the newest backup was made
SECRETS = "sign-ins, credentials.json and logs"

Bar = Callable[[str, int | None], Advance]  # begins a part of the work of so many bytes


@dataclass(frozen=True)
class WantedFolder:
    """A file that the backup must hold."""

    name: str  # in the archive
    path: Path
    sha256: str | None = None  # as the database or the folder's manifest has it
    may_go: bool = False  # of a checkpoint, which may be swept meanwhile


@dataclass(frozen=True)
class BackupReport:
    file: str
    bytes: int
    files: int
    damaged: list[str]
    left_out: list[str]


def backup(settings: Settings, target: Path | IO[bytes], bar: Bar) -> BackupReport:
    """Write the backup to a new file, or into a pipe.

    Raises OperationError, DatabaseUnavailable, OSError; then there is no file, and what went into a pipe is no backup.
    """
    if isinstance(target, Path) and target.exists():
        raise OperationError(f"{target} exists and is not overwritten; choose another name.")
    home = settings.home.resolve()
    beside = target.resolve().parent if isinstance(target, Path) else home
    if isinstance(target, Path) and not os.access(beside, os.W_OK | os.X_OK):
        why = "cannot be written to" if beside.is_dir() else "does not exist"
        raise OperationError(f"The folder {beside} {why}; make it, or name a file elsewhere.")
    with local_database(settings) as url:
        engine = make_engine(url, application_name="rankloop-backup")
        try:
            with files_kept(engine), scratch(beside) as place:
                sql = place / archive.DATABASE
                manifest, wanted = _dump(engine, url, home, sql, bar)
                _write(target, manifest, [WantedFolder(archive.DATABASE, sql), *wanted], bar)
        finally:
            engine.dispose()
    name = str(target) if isinstance(target, Path) else "standard output"
    files = {file: stored for file, stored in manifest.files.items() if file != archive.DATABASE}
    size = target.stat().st_size if isinstance(target, Path) else sum(stored.size for stored in manifest.files.values())
    (home / LAST).write_text(json.dumps({"file": name, "at": manifest.created}))
    return BackupReport(name, size, len(files), manifest.damaged, manifest.left_out)


def _dump(engine: Engine, url: str, home: Path, sql: Path, bar: Bar) -> tuple[Manifest, list[WantedFolder]]:
    """Dump the database; what it names, as of the same moment."""
    with _snapshot(engine) as (connection, name):
        heads = level(connection)
        if not set(heads) & known_levels():
            raise OperationError("The database is not at a level that this Rankloop knows; use the one that runs it.")
        postgres = connection.execute(text("SELECT current_setting('server_version_num')::int / 10000")).scalar_one()
        outside: list[str] = []
        wanted = list(_wanted(connection, home, outside))
        with gzip.open(sql, "wb", compresslevel=6) as file:
            dump.write(url, name, postgres, file, bar("Reading the database", None))
    manifest = Manifest(
        format=FORMAT,
        rankloop=version("rankloop"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        schema=",".join(heads),
        postgres=postgres,
        home=str(home),
        left_out=[SECRETS, *outside],
    )
    return manifest, wanted


@contextmanager
def _snapshot(engine: Engine) -> Iterator[tuple[Connection, str]]:
    """A transaction that sees one moment, and the name by which others may see the same."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection, connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()


def _write(target: Path | IO[bytes], manifest: Manifest, wanted: list[WantedFolder], bar: Bar) -> None:
    present = [(file, file.path.stat().st_size) for file in wanted if file.path.is_file()]
    advance = bar("Writing", sum(size for _, size in present))
    with _writer(target, manifest, advance) as writer:
        for file in wanted:
            _add(writer, file)


def _writer(target: Path | IO[bytes], manifest: Manifest, advance: Advance) -> AbstractContextManager[Writer]:
    if isinstance(target, Path):
        return archive.written(target, manifest, advance)
    return archive.streamed(target, manifest, advance)


def _add(writer: Writer, file: WantedFolder) -> None:
    try:
        stored = writer.add(file.name, file.path)
    except FileNotFoundError:
        if not file.may_go:
            writer.manifest.damaged.append(file.name)
        return
    if file.sha256 not in (None, stored.sha256):
        writer.manifest.damaged.append(file.name)


# ---------------------------------------------------------------- what the database names


def _wanted(connection: Connection, home: Path, outside: list[str]) -> Iterator[WantedFolder]:
    yield from _artifacts(connection, home)
    yield from _checkpoints(connection, home)
    yield from _models(connection, home, outside)


def _artifacts(connection: Connection, home: Path) -> Iterator[WantedFolder]:
    rows = select(Artifact.job_id, Job.epoch, Artifact.name, Artifact.sha256).join(Job, Job.id == Artifact.job_id)
    seals = {
        row.job_id: row.sha256
        for row in connection.execute(select(ModelVersion.job_id, ModelVersion.sha256))
        if row.job_id is not None
    }
    sealed = set()
    rows = rows.where(Artifact.removed_at.is_(None))
    for job_id, epoch, name, sha256 in connection.execute(rows.order_by(Artifact.job_id, Artifact.name)):
        folder = f"artifacts/{job_id}/{epoch}"
        yield WantedFolder(f"{folder}/{name}", home / folder / name, sha256)
        if job_id not in sealed:
            sealed.add(job_id)
            yield WantedFolder(f"{folder}/{FOLDER_MANIFEST}", home / folder / FOLDER_MANIFEST, seals.get(job_id))


def _checkpoints(connection: Connection, home: Path) -> Iterator[WantedFolder]:
    rows = select(CheckpointRow.job_id, CheckpointRow.name, CheckpointRow.sha256)
    for job_id, name, sha256 in connection.execute(rows.where(CheckpointRow.removed_at.is_(None))):
        folder = f"checkpoints/{job_id}/{name}"
        seal = home / folder / FOLDER_MANIFEST
        for file, stored in _listed(seal).items():
            yield WantedFolder(f"{folder}/{file}", home / folder / file, stored["sha256"], may_go=True)
        yield WantedFolder(f"{folder}/{FOLDER_MANIFEST}", seal, sha256, may_go=True)


def _listed(seal: Path) -> dict[str, dict[str, Any]]:
    """The files of a folder by its manifest; none when that is gone or unreadable."""
    try:
        files: dict[str, dict[str, Any]] = json.loads(seal.read_bytes())["files"]
        return files
    except (OSError, ValueError, KeyError):
        return {}


def _models(connection: Connection, home: Path, outside: list[str]) -> Iterator[WantedFolder]:
    """Registered base models whose folders lie below HOME/models; the others are named in `outside`."""
    for path in connection.scalars(select(ModelVersion.path).where(ModelVersion.job_id.is_(None)).distinct()):
        folder = Path(path)
        if not folder.is_relative_to(home / "models"):
            outside.append(f"the model {path}")
            continue
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                yield WantedFolder(file.relative_to(home).as_posix(), file)
