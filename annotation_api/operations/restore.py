"""`rankloop restore FILE`: a backup becomes a service again, in an empty home and an empty database.

Files are written and checked in a folder beside their place. The database is filled in one transaction,
in which paths are set to the new home, live jobs are queued again and every row is held against the
files; the files are moved into place just before its commit. What fails leaves nothing behind.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from annotation_api.db.engine import make_engine, session_factory
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.machine import LIVE
from annotation_api.db.migrate import known_levels, upgrade_within
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.db.tables import Artifact, CheckpointRow, Job, ModelVersion
from annotation_api.operations import archive, dump
from annotation_api.operations.alone import held
from annotation_api.operations.archive import DATABASE, FOLDERS, SHOWN, Manifest
from annotation_api.operations.backup import FOLDER_MANIFEST, Bar
from annotation_api.operations.local import OperationError
from annotation_api.settings import Settings

PART = "restore.part"
RELATIONS = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"


@dataclass(frozen=True)
class RestoreReport:
    home: str
    files: int
    jobs_queued: int  # that were at work when the backup was made
    damaged: list[str]
    left_out: list[str]


def restore(settings: Settings, source: Path, bar: Bar) -> RestoreReport:
    """Bring the backup back. Raises OperationError, DatabaseUnavailable, OSError; then nothing has changed."""
    home = settings.home.resolve()
    with archive.opened(source) as reader:
        _refuse_unreadable(source, reader.manifest)
        _refuse_files(home)
        home.mkdir(parents=True, exist_ok=True)
        with _empty_folder(home / PART) as part, _empty_database(settings) as url:
            reader.extract(part, bar("Reading the backup", reader.size))
            queued = _fill(url, part, home, reader.manifest, bar)
    files = [name for name in reader.manifest.files if name != DATABASE]
    return RestoreReport(str(home), len(files), queued, reader.manifest.damaged, reader.manifest.left_out)


# ---------------------------------------------------------------- what must be so before


def _refuse_unreadable(source: Path, manifest: Manifest) -> None:
    if unknown := set(manifest.schema.split(",")) - known_levels():
        raise OperationError(
            f"{source} was made by Rankloop {manifest.rankloop} with schema {', '.join(sorted(unknown))}, which this "
            "version does not know: install that version or a newer one."
        )


def _refuse_files(home: Path) -> None:
    for name in FOLDERS:
        folder = home / name
        if folder.exists() and any(folder.iterdir()):
            raise OperationError(f"{folder} is not empty; restore into another RANKLOOP_HOME.")


@contextmanager
def _empty_folder(part: Path) -> Iterator[Path]:
    """A folder of this command alone; what a killed restore left in it is cleared."""
    part.mkdir(exist_ok=True)
    with held(part, f"Another restore fills {part.parent}; wait for it, or restore into another RANKLOOP_HOME."):
        for left in part.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _empty_database(settings: Settings) -> Iterator[str]:
    """The URL of the database, in which there is nothing; an embedded one is made, and unmade on an error."""
    if settings.database_url:
        _refuse_tables(settings.database_url)
        yield settings.database_url
        return
    new = not (settings.home / "postgres.json").exists()
    server = EmbeddedPostgres(settings.home)
    with ExitStack() as undo:
        undo.callback(server.stop)
        url = server.start()
        if new:
            undo.callback(server.stop_and_forget)
        _refuse_tables(url)
        yield url
        undo.pop_all()
        server.stop()


def _refuse_tables(url: str) -> None:
    engine = make_engine(url, application_name="rankloop-restore")
    try:
        with engine.connect() as connection:
            if connection.execute(text(RELATIONS)).scalar_one():
                raise OperationError("The database is not empty; restore into an empty one.")
    finally:
        engine.dispose()


# ---------------------------------------------------------------- the database, and what must agree with it


def _fill(url: str, part: Path, home: Path, manifest: Manifest, bar: Bar) -> int:
    """Fill the database and move the files into place, both or neither; the number of jobs queued again."""
    engine = make_engine(url, application_name="rankloop-restore")
    moved: list[Path] = []
    try:
        with session_factory(engine).begin() as session:
            connection = session.connection()
            _refuse_older_server(session, manifest)
            _read_sql(session, part / DATABASE, bar)
            upgrade_within(connection)
            _check(session, part, manifest)
            _set_paths(session, manifest.home, home)
            _forget_lost_checkpoints(session, part)
            queued = _queue_again(session)
            _move(part, home, moved)
        return queued
    except BaseException:
        for folder in moved:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        engine.dispose()


def _refuse_older_server(session: Session, manifest: Manifest) -> None:
    here = session.scalar(text("SELECT current_setting('server_version_num')::int / 10000"))
    assert here is not None
    if here < manifest.postgres:
        raise OperationError(
            f"The backup is of a Postgres {manifest.postgres} and this server is Postgres {here}: use "
            f"{manifest.postgres} or newer (RANKLOOP_POSTGRES_BIN chooses the embedded one)."
        )


def _read_sql(session: Session, path: Path, bar: Bar) -> None:
    advance = bar("Filling the database", None)
    with gzip.open(path, "rb") as script:
        dump.read(session.connection(), _counted(script, advance))


def _counted(lines: Iterable[bytes], advance: Callable[[int], object]) -> Iterator[bytes]:
    for line in lines:
        yield line
        advance(len(line))


def _check(session: Session, part: Path, manifest: Manifest) -> None:
    """Every file that a row names is there with the row's hash, and so is every folder's own manifest."""
    bad = [name for name, sha256 in _promised(session, part) if _differs(manifest, name, sha256)]
    if bad:
        more = f", and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise OperationError(
            f"The backup does not hold what its database names: {', '.join(bad[:SHOWN])}{more}. Nothing was restored."
        )


def _differs(manifest: Manifest, name: str, sha256: str | None) -> bool:
    stored = manifest.files.get(name)
    if name in manifest.damaged:  # known when the backup was made, and told
        return False
    return stored is None or sha256 not in (None, stored.sha256)


def _promised(session: Session, part: Path) -> Iterator[tuple[str, str | None]]:
    """File names and the hashes that rows and the folders' manifests give them."""
    rows = select(Artifact.job_id, Job.epoch, Artifact.name, Artifact.sha256).join(Job, Job.id == Artifact.job_id)
    folders, rows = set(), rows.where(Artifact.removed_at.is_(None))
    for job_id, epoch, name, sha256 in session.execute(rows.execution_options(yield_per=1000)):
        folders.add(f"artifacts/{job_id}/{epoch}")
        yield f"artifacts/{job_id}/{epoch}/{name}", sha256
    seals = select(ModelVersion.job_id, Job.epoch, ModelVersion.sha256).join(Job, Job.id == ModelVersion.job_id)
    for row in session.execute(seals.where(ModelVersion.removed_at.is_(None))):
        yield f"artifacts/{row.job_id}/{row.epoch}/{FOLDER_MANIFEST}", row.sha256
    for folder in sorted(folders):
        seal = part / folder / FOLDER_MANIFEST
        for name, stored in json.loads(seal.read_bytes())["files"].items() if seal.exists() else ():
            yield f"{folder}/{name}", stored["sha256"]


def _set_paths(session: Session, old: str, home: Path) -> None:
    """Models that lay in the old home lie in the new one."""
    inside = ModelVersion.path.startswith(f"{old}/", autoescape=True)
    rest = func.substr(ModelVersion.path, len(old) + 1)
    session.execute(update(ModelVersion).where(inside).values(path=str(home) + rest))


def _forget_lost_checkpoints(session: Session, part: Path) -> None:
    """Those that were swept while the backup was made; jobs go on from what is there."""
    for row in session.scalars(select(CheckpointRow).where(CheckpointRow.removed_at.is_(None))):
        if not (part / "checkpoints" / str(row.job_id) / row.name / FOLDER_MANIFEST).exists():
            row.removed_at = func.clock_timestamp()


def _queue_again(session: Session) -> int:
    """Jobs that were at work are at work no more."""
    live = session.execute(select(Job.id, Job.epoch).where(Job.state.in_(LIVE))).all()
    for job_id, epoch in live:
        job_store.release(session, job_id, epoch)
    return len(live)


def _move(part: Path, home: Path, moved: list[Path]) -> None:
    for name in FOLDERS:
        if (part / name).exists():
            target = home / name
            (part / name).rename(target)  # an empty folder gives way
            moved.append(target)
