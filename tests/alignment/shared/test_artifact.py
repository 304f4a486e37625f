"""A folder is whole or absent, and a damaged one is named."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from alignment.shared import artifact
from alignment.shared.errors import Damaged, DiskFull, StageError


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "sub" / "notes.txt").write_bytes(b"")
    return folder


def test_manifest_lists_every_file_with_its_own_hash(staging: Path) -> None:
    digest = artifact.write_manifest(staging)
    data = (staging / "manifest.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest
    assert json.loads(data) == {
        "files": {
            "model.safetensors": {"sha256": hashlib.sha256(b"weights").hexdigest(), "size": 7},
            "sub/notes.txt": {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0},
        }
    }


def test_writing_the_manifest_again_changes_nothing(staging: Path) -> None:
    assert artifact.write_manifest(staging) == artifact.write_manifest(staging)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"Weights"), "model.safetensors differs"),  # same size
        (lambda f: (f / "model.safetensors").write_bytes(b"weight"), "model.safetensors differs"),
        (lambda f: (f / "sub" / "notes.txt").unlink(), "sub/notes.txt is missing"),
        (lambda f: (f / "extra").write_bytes(b"?"), "extra is not in the manifest"),
        (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json is missing or unreadable"),
        (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json is missing or unreadable"),
    ],
)
def test_verify_names_the_damage(staging: Path, damage, named: str) -> None:
    artifact.write_manifest(staging)
    artifact.verify(staging)
    damage(staging)
    with pytest.raises(Damaged, match=named):
        artifact.verify(staging)


def test_publish_moves_a_whole_folder(staging: Path, tmp_path: Path) -> None:
    final = tmp_path / "artifacts" / "job" / "1"
    digest = artifact.publish(staging, final)
    assert not staging.exists()
    assert artifact.verify(final)["files"].keys() == {"model.safetensors", "sub/notes.txt"}
    assert hashlib.sha256((final / "manifest.json").read_bytes()).hexdigest() == digest


def test_publish_never_overwrites(staging: Path, tmp_path: Path) -> None:
    final = tmp_path / "final"
    final.mkdir()
    with pytest.raises(StageError, match="never overwritten"):
        artifact.publish(staging, final)
    assert (staging / "model.safetensors").exists()
    assert not list(final.iterdir())


def test_a_crash_before_the_rename_leaves_nothing(staging: Path, tmp_path: Path, monkeypatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        artifact.publish(staging, tmp_path / "final")
    assert not (tmp_path / "final").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named(number: int, staging: Path, tmp_path: Path, monkeypatch) -> None:
    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        artifact.publish(staging, tmp_path / "final")
    assert not (tmp_path / "final").exists()


@pytest.mark.parametrize("said", ["{", "[]", '{"removed": []}', '{"removed": [], "rewritten": 3}'])
def test_a_damaged_note_of_erasures_is_damage(staging: Path, said: str) -> None:
    artifact.write_manifest(staging)
    (staging / artifact.ERASED).write_text(said)
    with pytest.raises(Damaged, match=r"erased\.json is unreadable"):
        artifact.verify(staging)
