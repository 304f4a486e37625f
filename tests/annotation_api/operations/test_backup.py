"""Backup and restore on the real thing: a filled service, its archive, another home; tables and files compared."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from alignment.shared import artifact as checkpoint
from alignment.shared.events import SavedCheckpoint
from annotation_api.cli import main
from annotation_api.db import dispatchers
from annotation_api.db.engine import make_engine
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import ArtifactFile, ModelToRegister
from annotation_api.db.migrate import upgrade
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.db.tables import CheckpointRow, Job, JobState, ModelKind, ModelVersion, RayState
from annotation_api.http.auth import start_session
from annotation_api.operations import alone
from annotation_api.operations import backup as backing_up
from annotation_api.operations import restore as restoring
from annotation_api.operations.local import files_mine

PROGRAMS = os.environ.get("RANKLOOP_TEST_POSTGRES_BIN")
NOT_COPIED = ("login_sessions", "dispatchers")


@dataclass
class Filled:
    """A service with a finished job and its model, a live job with a checkpoint, and a base model."""

    url: str
    engine: Engine
    home: Path
    done: uuid.UUID
    live: uuid.UUID
    artifact: Path


@pytest.fixture
def where(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str | None], None]:
    """`where(home, url)`: the environment of the next command."""

    def choose(home: Path, url: str | None) -> None:
        monkeypatch.setenv("RANKLOOP_HOME", str(home))
        monkeypatch.setenv("RANKLOOP_DATABASE_URL", url or "")
        if PROGRAMS:
            monkeypatch.setenv("RANKLOOP_POSTGRES_BIN", PROGRAMS)

    return choose


@pytest.fixture
def folder() -> Iterator[Path]:
    """For homes: a folder that an unprivileged server may enter."""
    path = Path(tempfile.mkdtemp(prefix="rankloop-backup-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def filled(fresh_database: str, fresh_engine: Engine, folder: Path, factory) -> Filled:
    home = folder / "home"
    for name in ("artifacts", "checkpoints", "models", "logs"):
        (home / name).mkdir(parents=True)
    return fill(fresh_database, fresh_engine, home, factory)


def fill(url: str, engine: Engine, home: Path, factory) -> Filled:
    base = home / "models" / "base"
    base.mkdir(parents=True, exist_ok=True)
    (base / "model.safetensors").write_bytes(os.urandom(50_000))
    with Session(engine) as session:
        make = factory(session)
        someone = make.person()
        project = make.project(someone, name="Ünïcode \\. 100% \\N project")
        task = make.task(make.prompt(project, "What?\tTabs\nand \\. lines"), ("a\\.", "b\n\\.\nc"))
        make.submission(task, [[0], [1]])
        start_session(session, someone)
        dispatchers.report(session, "a:1", slots=1, busy=1, ray=RayState.LOCAL)
        make.model(path=str(base))
        make.model(path="/elsewhere/model")
        done, live = make.job(created_by=someone.id), make.job(created_by=someone.id)
        artifact = finish(session, home, done.id)
        start(session, home, live.id)
        session.commit()
        return Filled(url, engine, home, done.id, live.id, artifact)


def finish(session: Session, home: Path, job_id: uuid.UUID) -> Path:
    """The job's artifact, as a launcher publishes and commits it."""
    job_store.claim(session, "a:1", 30)
    job_store.mark_running(session, job_id, 1)
    job_store.mark_committing(session, job_id, 1)
    staging, final = home / "staging", home / "artifacts" / str(job_id) / "1"
    (staging / "deep").mkdir(parents=True)
    (staging / "model.safetensors").write_bytes(os.urandom(200_000))
    (staging / "deep" / "report.json").write_text("{}")
    digest = checkpoint.publish(staging, final)
    files = json.loads((final / "manifest.json").read_bytes())["files"].items()
    model = ModelToRegister("sft-1", ModelKind.SFT, str(final), digest)
    artifacts = [ArtifactFile(name, entry["sha256"], entry["size"]) for name, entry in files]
    job_store.commit_success(session, job_id, 1, result={}, artifacts=artifacts, model=model)
    return final


def start(session: Session, home: Path, job_id: uuid.UUID) -> None:
    """The job at work, with two checkpoints, the first of which the sweeper took without a row's word."""
    job_store.claim(session, "a:1", 30)
    job_store.mark_running(session, job_id, 1)
    for step in (5, 10):
        name = f"1/step-{step}"
        target, staging = home / "checkpoints" / str(job_id) / name, home / "staging"
        staging.mkdir()
        (staging / "state.bin").write_bytes(os.urandom(1000))
        digest = checkpoint.publish(staging, target)
        job_store.record_checkpoint(session, job_id, 1, SavedCheckpoint(name, step, digest, 1000, 0.1))
    shutil.rmtree(home / "checkpoints" / str(job_id) / "1" / "step-5")


def tables(engine: Engine) -> dict[str, list[str]]:
    """Every table's rows, as sorted text."""
    with engine.connect() as connection:
        names = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        return {
            name: sorted(connection.scalars(text(f'SELECT t::text FROM "{name}" t')).all()) for name in sorted(names)
        }


def files(home: Path) -> dict[str, str]:
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("artifacts", "checkpoints", "models")
        for path in (home / name).rglob("*")
        if path.is_file()
    }


@pytest.fixture
def empty(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"restore_{uuid.uuid4().hex[:8]}"
    admin = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


def test_what_was_backed_up_comes_back(filled: Filled, folder: Path, empty: str, where, capsys) -> None:
    archive, there = folder / "b.tar", folder / "there"
    where(filled.home, filled.url)
    assert main(["backup", str(archive), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bytes"] == archive.stat().st_size
    assert "the model /elsewhere/model" in report["left_out"]
    assert archive.stat().st_mode & 0o777 == 0o600
    before = tables(filled.engine)

    where(there, empty)
    assert main(["restore", str(archive), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs_queued"] == 1
    assert files(there) == files(filled.home)
    assert len(files(there)) == 6  # 2 of the artifact, 1 of the checkpoint, their manifests, 1 of the base model
    engine = make_engine(empty)
    after = tables(engine)
    assert set(after) == set(before)
    moved = {"jobs", "job_events", "job_attempts", "model_versions", "saved_checkpoints", *NOT_COPIED}
    assert {name for name in before if before[name] != after[name]} == moved
    assert all(after[name] == [] for name in NOT_COPIED)
    with Session(engine) as session:
        live = session.get_one(Job, filled.live)
        assert (live.state, live.attempts, live.lease_until) == (JobState.QUEUED, 0, None)
        assert session.get_one(Job, filled.done).state is JobState.SUCCEEDED
        made = session.scalars(select(ModelVersion).order_by(ModelVersion.path)).all()
        assert {row.path for row in made} == {
            str(there / "artifacts" / str(filled.done) / "1"), str(there / "models" / "base"), "/elsewhere/model",
        }  # fmt: skip
        kept = {row.step: row.removed_at is None for row in session.scalars(select(CheckpointRow))}
        assert kept == {5: False, 10: True}
        claimed = job_store.claim(session, "b:1", 30)
        assert claimed is not None
        assert (claimed.id, claimed.epoch) == (filled.live, 2)
    engine.dispose()
    assert sorted(path.name for path in there.iterdir()) == ["artifacts", "checkpoints", "models"]


def test_through_a_pipe_as_out_of_and_into_a_container(filled: Filled, folder: Path, empty: str, where) -> None:
    command, archive, there = [sys.executable, "-m", "annotation_api.cli"], folder / "b.tar", folder / "there"
    beside = {path.name for path in filled.home.iterdir()}
    where(filled.home, filled.url)
    with archive.open("wb") as output:
        done = subprocess.run([*command, "backup", "-", "--json"], stdout=output, stderr=subprocess.PIPE, check=True)
    assert json.loads(done.stderr)["files"] == 6
    assert {path.name for path in filled.home.iterdir()} - beside == {
        "backup.json"
    }  # the note for `doctor`, no scratch
    where(there, empty)
    with archive.open("rb") as source:
        subprocess.run([*command, "restore", "-"], stdin=source, check=True)
    assert files(there) == files(filled.home)
    assert sorted(path.name for path in there.iterdir()) == ["artifacts", "checkpoints", "models"]


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_backup_whose_reader_is_gone_has_failed_and_says_so(filled: Filled, where, flags: tuple[str, ...]) -> None:
    where(filled.home, filled.url)
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "annotation_api.cli", "backup", "-", *flags]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 1
    told = json.loads(done.stderr)["error"] if flags else done.stderr.removeprefix("rankloop backup: ").rstrip()
    assert told == "backup: Broken pipe"


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_one_in_a_file_is_made_though_nobody_reads_of_it(filled: Filled, where, flags: tuple[str, ...]) -> None:
    where(filled.home, filled.url)
    file = filled.home.parent / "b.tar"
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "annotation_api.cli", "backup", str(file), *flags]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert file.exists()


def test_why_a_piped_backup_failed_does_not_go_into_the_archive(folder: Path, where) -> None:
    where(folder, "postgresql://nobody@127.0.0.1:1/none")
    command = [sys.executable, "-m", "annotation_api.cli", "backup", "-", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error" in json.loads(done.stderr)


def test_half_of_a_pipe_is_no_backup(filled: Filled, folder: Path, empty: str, where) -> None:
    command, there = [sys.executable, "-m", "annotation_api.cli"], folder / "there"
    where(filled.home, filled.url)
    whole = subprocess.run([*command, "backup", "-"], stdout=subprocess.PIPE, check=True).stdout
    where(there, empty)
    done = subprocess.run([*command, "restore", "-"], input=whole[: len(whole) // 2], stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"no whole backup" in done.stderr
    assert list(there.iterdir()) == []


def test_the_embedded_database_is_backed_up_while_it_runs_and_when_it_is_stopped(folder: Path, where, factory) -> None:
    home, there = folder / "home", folder / "there"
    home.mkdir()
    with EmbeddedPostgres(home, Path(PROGRAMS) if PROGRAMS else None) as server:
        upgrade(server.url)
        engine = make_engine(server.url)
        fill(server.url, engine, home, factory)
        before = tables(engine)
        engine.dispose()
        where(home, None)
        assert main(["backup", str(folder / "running.tar")]) == 0
    assert main(["backup", str(folder / "stopped.tar")]) == 0
    for archive in ("running.tar", "stopped.tar"):
        where(there, None)
        assert main(["restore", str(folder / archive)]) == 0
        assert not (there / "restore.part").exists()
        with EmbeddedPostgres(there, Path(PROGRAMS) if PROGRAMS else None) as server:
            engine = make_engine(server.url)
            after = tables(engine)
            engine.dispose()
        assert [len(after[name]) for name in ("submissions", "job_events")] == [1, len(before["job_events"]) + 1]
        assert after["people"] == before["people"]
        assert files(there) == files(home)
        shutil.rmtree(there)


@pytest.fixture(scope="module")
def made_once(module_engine: Engine, factory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service's archive, of which tests that spoil one get a copy."""
    home, archive = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("archive") / "b.tar"
    url = module_engine.url.render_as_string(hide_password=False)
    fill(url, module_engine, home, factory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKLOOP_HOME", str(home))
        patch.setenv("RANKLOOP_DATABASE_URL", url)
        assert main(["backup", str(archive)]) == 0
    return archive


@pytest.fixture
def archive(made_once: Path, folder: Path) -> Path:
    return Path(shutil.copy(made_once, folder))


def backed_up(filled: Filled, folder: Path, where) -> Path:
    where(filled.home, filled.url)
    assert main(["backup", str(folder / "b.tar")]) == 0
    return folder / "b.tar"


def rewritten(archive: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """The archive again, each member's content as `change` gives it; None: left out."""
    with tarfile.open(archive) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(archive, "w") as tar:
        for name, content in members:
            changed = change(name, content)
            if changed is not None:
                member = tarfile.TarInfo(name)
                member.size = len(changed)
                tar.addfile(member, io.BytesIO(changed))


def resealed(archive: Path, change: Callable[[dict], object]) -> None:
    """The archive with another manifest, and the hash to match."""
    texts: list[bytes] = []

    def content_of(name: str, content: bytes) -> bytes:
        if name == "manifest.json":
            manifest = json.loads(content)
            change(manifest)
            texts.append(json.dumps(manifest).encode())
            return texts[0]
        return hashlib.sha256(texts[0]).hexdigest().encode() if name == "manifest.sha256" else content

    rewritten(archive, content_of)


def cut(archive: Path) -> None:
    os.truncate(archive, archive.stat().st_size * 2 // 3)


def flip(archive: Path) -> None:
    """One bit of the weights, as a bad disk would."""
    with tarfile.open(archive) as tar:
        member = next(member for member in tar if member.name.endswith("model.safetensors"))
    with archive.open("r+b") as file:
        file.seek(member.offset_data + 100)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def escape(archive: Path) -> None:
    """A name that leads out of the folder, with a manifest to match."""
    resealed(archive, lambda manifest: manifest["files"].update({"models/../../evil": {"sha256": "0", "size": 1}}))


def edited(archive: Path) -> None:
    rewritten(
        archive, lambda name, content: content.replace(b"sft", b"ppo") + b" " if name == "manifest.json" else content
    )


DAMAGES = [
    (cut, ["is no whole backup", "unexpected end of data"]),
    (flip, ["model.safetensors does not have its sha256"]),
    (lambda path: rewritten(path, lambda n, c: None if n.endswith("report.json") else c), ["report.json is missing"]),
    (lambda path: rewritten(path, lambda n, c: None if n.startswith("manifest") else c), ["manifest.json is missing"]),
    (edited, ["manifest.json does not have its sha256"]),
    (escape, ["it holds 'models/../../evil'"]),
    (lambda path: path.write_bytes(b"no archive"), ["is no whole backup"]),
    (lambda path: path.write_bytes(b""), ["is no whole backup"]),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_a_damaged_archive_is_refused_with_what_is_damaged(
    damage, words: list[str], archive: Path, folder: Path, empty: str, where, capsys
) -> None:
    there = folder / "there"
    damage(archive)
    where(there, empty)
    assert main(["restore", str(archive)]) == 1
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert not there.exists() or list(there.iterdir()) == []
    assert tables_of(empty) == {}


def tables_of(url: str) -> dict[str, list[str]]:
    engine = make_engine(url)
    try:
        return tables(engine)
    finally:
        engine.dispose()


def test_a_restore_that_fails_at_its_end_leaves_nothing(
    filled: Filled, folder: Path, empty: str, where, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step before the commit, after the files were moved, with each kind of database."""
    archive, there = backed_up(filled, folder, where), folder / "there"
    whole = restoring._move

    def fail(part: Path, home: Path, moved: list[Path]) -> None:
        whole(part, home, moved)
        raise OSError(28, "No space left on device")

    for url in (empty, None):
        where(there, url)
        with monkeypatch.context() as patch:
            patch.setattr(restoring, "_move", fail)
            assert main(["restore", str(archive)]) == 1
        left = {path.name for path in there.iterdir()}
        assert left <= {"logs", "postgres.lock", "sockets"}, left
    assert tables_of(empty) == {}
    where(there, empty)
    assert main(["restore", str(archive)]) == 0


def test_a_second_restore_does_not_touch_what_the_first_one_fills(
    filled: Filled, folder: Path, empty: str, where, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, there = backed_up(filled, folder, where), folder / "there"
    whole = restoring._move

    def at_once(part: Path, home: Path, moved: list[Path]) -> None:
        assert main(["restore", str(archive)]) == 1
        whole(part, home, moved)

    where(there, empty)
    with monkeypatch.context() as patch:
        patch.setattr(restoring, "_move", at_once)
        patch.setattr(restoring, "_refuse_tables", lambda url: None)  # the first one's are not committed yet
        assert main(["restore", str(archive)]) == 0
    assert "Another restore fills" in capsys.readouterr().err
    assert [path for path in (there / "artifacts").rglob("*") if path.is_file()]
    assert not (there / restoring.PART).exists()


def test_a_second_backup_into_the_same_file_is_refused_and_the_first_is_whole(
    filled: Filled, folder: Path, empty: str, where, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    where(filled.home, filled.url)
    target, add = folder / "both.tar", backing_up._add

    def at_once(*given: Any) -> None:
        monkeypatch.setattr(backing_up, "_add", add)
        assert main(["backup", str(target)]) == 1
        add(*given)

    monkeypatch.setattr(backing_up, "_add", at_once)
    assert main(["backup", str(target)]) == 0
    assert "Another backup is being written to" in capsys.readouterr().err
    where(folder / "there", empty)
    assert main(["restore", str(target)]) == 0


def test_what_a_killed_backup_left_goes_with_the_next_and_what_is_at_work_stays(folder: Path) -> None:
    killed = folder / f"{alone.MARK}killed"
    killed.mkdir()
    (killed / "database.sql.gz").write_bytes(b"half")
    with alone.scratch(folder) as first, alone.scratch(folder) as second:
        assert not killed.exists()
        assert first.is_dir()
        assert second.is_dir()
    assert not list(folder.glob(f"{alone.MARK}*"))


def test_what_is_not_empty_is_never_restored_into(filled: Filled, folder: Path, empty: str, where, capsys) -> None:
    archive = backed_up(filled, folder, where)
    before = tables(filled.engine)
    where(filled.home, empty)
    assert main(["restore", str(archive)]) == 1
    assert "artifacts is not empty" in capsys.readouterr().err
    where(folder / "there", filled.url)
    assert main(["restore", str(archive)]) == 1
    assert "The database is not empty" in capsys.readouterr().err
    assert tables(filled.engine) == before
    assert list((folder / "there").iterdir()) == []


def test_a_file_that_is_missing_or_changed_is_told_at_backup_and_at_restore(
    filled: Filled, folder: Path, empty: str, where, capsys
) -> None:
    (filled.artifact / "model.safetensors").write_bytes(b"rot")
    (filled.artifact / "deep" / "report.json").unlink()
    where(filled.home, filled.url)
    assert main(["backup", str(folder / "b.tar"), "--json"]) == 1
    names = json.loads(capsys.readouterr().out)["damaged"]
    assert sorted(name.rpartition("/")[2] for name in names) == ["model.safetensors", "report.json"]
    where(folder / "there", empty)
    assert main(["restore", str(folder / "b.tar"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["damaged"] == names
    assert files(folder / "there") == files(filled.home)


def test_a_database_that_names_what_the_archive_lacks_is_refused(
    filled: Filled, folder: Path, empty: str, where, capsys
) -> None:
    with filled.engine.begin() as connection:
        connection.execute(update(ModelVersion).where(ModelVersion.job_id == filled.done).values(sha256="f" * 64))
    where(filled.home, filled.url)
    assert main(["backup", str(folder / "b.tar")]) == 1
    resealed(folder / "b.tar", lambda manifest: manifest.update(damaged=[]))
    where(folder / "there", empty)
    capsys.readouterr()
    assert main(["restore", str(folder / "b.tar")]) == 1
    assert "1/manifest.json" in capsys.readouterr().err
    assert tables_of(empty) == {}


def test_a_backup_is_whole_or_absent(filled: Filled, folder: Path, where, capsys) -> None:
    archive = backed_up(filled, folder, where)
    content = archive.read_bytes()
    assert main(["backup", str(archive)]) == 1
    assert "is not overwritten" in capsys.readouterr().err
    assert archive.read_bytes() == content
    where(filled.home, make_url(filled.url).set(database="no_such").render_as_string(hide_password=False))
    assert main(["backup", str(folder / "c.tar")]) == 1
    assert main(["backup", str(folder / "no" / "c.tar")]) == 1
    assert f"The folder {folder.resolve() / 'no'} does not exist; make it" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["b.tar", "home"]


def test_no_backup_is_made_while_artifacts_are_removed(filled: Filled, folder: Path, where, capsys) -> None:
    where(filled.home, filled.url)
    with files_mine(filled.engine):
        assert main(["backup", str(folder / "b.tar")]) == 1
    assert "Artifacts are being removed" in capsys.readouterr().err
    assert main(["backup", str(folder / "b.tar")]) == 0


def test_without_a_service_or_its_programs_a_sentence_says_what_to_do(
    filled: Filled, folder: Path, where, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    where(folder / "nothing", None)
    assert main(["backup", str(folder / "b.tar")]) == 1
    assert "There is no service in" in capsys.readouterr().err
    where(filled.home, filled.url)
    monkeypatch.setenv("RANKLOOP_POSTGRES_BIN", str(folder))
    monkeypatch.setenv("PATH", str(folder))
    assert main(["backup", str(folder / "b.tar")]) == 1
    said = capsys.readouterr().err
    assert "its pg_dump was not found" in said
    assert "RANKLOOP_POSTGRES_BIN" in said
    assert not (folder / "b.tar").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"postgres": 99}, "use 99 or newer"),
        ({"schema": "9999"}, "with schema 9999, which this version does not know"),
        ({"format": 2}, "has format 2; this Rankloop reads 1"),
    ],
)
def test_what_a_newer_version_wrote_is_refused(
    changed: dict, words: str, archive: Path, folder: Path, empty: str, where, capsys
) -> None:
    resealed(archive, lambda manifest: manifest.update(changed))
    where(folder / "there", empty)
    assert main(["restore", str(archive)]) == 1
    assert words in capsys.readouterr().err
    assert tables_of(empty) == {}
