"""Models over REST: in parts, after a break, and never more trusted than any stranger's folder."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from annotation_api.cli import main
from annotation_api.cli.commands import models
from annotation_api.db.engine import session_factory
from annotation_api.db.tables import ModelVersion, Role
from annotation_api.models import uploads
from annotation_api.people import service as people
from annotation_api.people.schemas import NewApiKey
from annotation_api.settings import Settings
from tests.support.live import app_of, served

As = Callable[..., TestClient]
OCTETS = {"Content-Type": "application/octet-stream"}
FILES = {
    "config.json": json.dumps({"model_type": "llama"}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": b"\x02\0\0\0\0\0\0\0{}",
}


@pytest.fixture
def home(app: FastAPI, tmp_path: Path) -> Path:
    app.state.settings = app.state.settings.model_copy(update={"home": tmp_path})
    return tmp_path


def begin(client: TestClient) -> str:
    answer = client.post("/v1/model-uploads", json={"name": "sent"})
    assert (answer.status_code, answer.json()["files"]) == (201, {})
    return str(answer.headers["location"])


def send(client: TestClient, at: str, name: str, data: bytes, offset: int | None = None) -> Any:
    where = {} if offset is None else {"offset": offset}
    return client.put(f"{at}/files/{name}", content=data, headers=OCTETS, params=where)


def fill(client: TestClient, at: str, **changed: bytes | None) -> None:
    for name, data in (FILES | {name.replace("__", "."): data for name, data in changed.items()}).items():
        if data is not None:
            assert send(client, at, name, data).status_code == 200


def test_a_model_comes_in_file_by_file_and_is_one_as_any_other(as_: As, home: Path, session: Session) -> None:
    client = as_(Role.ENGINEER)
    at = begin(client)
    fill(client, at)
    assert client.get(at).json()["files"] == {name: len(data) for name, data in FILES.items()}
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    answer = client.post(f"{at}:finish", json={"sha256": sums})
    assert answer.status_code == 201, answer.text
    model = client.get(answer.headers["location"]).json()
    assert (model["name"], model["kind"]) == ("sent", "base")
    folder = Path(model["path"])
    assert folder.parent == home / "models"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert client.get(at).status_code == 404
    assert list((home / "model-uploads").iterdir()) == []


def test_a_file_comes_in_parts_and_goes_on_after_a_break(as_: As, home: Path) -> None:
    client = as_(Role.ENGINEER)
    at, name = begin(client), "model.safetensors"
    assert send(client, at, name, b"01234", 0).json()["files"] == {name: 5}
    ahead = send(client, at, name, b"x", 7)
    assert (ahead.status_code, ahead.headers["upload-offset"]) == (409, "5")
    assert "offset=5" in ahead.json()["detail"]
    send(client, at, name, b"56789", 5)
    assert send(client, at, name, b"56", 5).json()["files"] == {name: 7}  # its answer was lost: sent again
    file = home / "model-uploads" / at.rpartition("/")[2] / "files" / name
    assert file.read_bytes() == b"0123456"


def test_what_a_broken_connection_brought_stays(as_: As, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = as_(Role.ENGINEER)
    at = begin(client)

    async def broken(self: Any) -> Any:
        yield b"01234"
        raise ConnectionError("gone")

    monkeypatch.setattr("starlette.requests.Request.stream", broken)
    send(client, at, "model.safetensors", b"")
    monkeypatch.undo()
    assert client.get(at).json()["files"] == {"model.safetensors": 5}


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "modeling_evil.py", "..%2F..%2Fevil.json", ".hidden.json", "a.safetensors.py", "x"]
)
def test_a_file_that_is_none_of_a_model_is_refused(as_: As, home: Path, name: str) -> None:
    client = as_(Role.ENGINEER)
    at = begin(client)
    answer = send(client, at, name, b"{}")
    assert answer.status_code in (404, 422), answer.text
    assert client.get(at).json()["files"] == {}
    assert not list(home.glob("**/*evil*"))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"config__json": None}, "config.json"),
        ({"tokenizer__json": None}, "tokenizer"),
        ({"model__safetensors": None}, "no weights"),
        ({"model__safetensors": b"not safetensors at all"}, "model.safetensors"),
        ({"tokenizer_config__json": b'{"auto_map": {"AutoTokenizer": ["evil.T", null]}}'}, "auto_map"),
        ({"adapter_config__json": b'{"peft_type": "LORA"}'}, "adapters"),
        ({"config__json": b"[" * 5000}, "config.json"),
    ],
)
def test_a_hostile_or_half_model_is_refused_by_name_and_can_be_mended(
    as_: As, home: Path, session: Session, changed: dict[str, bytes | None], words: str
) -> None:
    client = as_(Role.ENGINEER)
    at = begin(client)
    fill(client, at, **changed)
    answer = client.post(f"{at}:finish")
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text
    assert session.query(ModelVersion).count() == 0
    assert not (home / "models").exists()
    assert client.get(at).status_code == 200
    if "adapter_config__json" not in changed and "tokenizer_config__json" not in changed:
        fill(client, at)
        assert client.post(f"{at}:finish").status_code == 201


def test_a_file_that_arrived_wrong_is_found_out(as_: As, home: Path) -> None:
    client = as_(Role.ENGINEER)
    at = begin(client)
    fill(client, at)
    answer = client.post(f"{at}:finish", json={"sha256": {"config.json": "0" * 64, "vocab.json": "1" * 64}})
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/sha256/config.json", "/sha256/vocab.json"]


def test_an_upload_is_its_makers_alone_and_there_are_only_so_many(as_: As, home: Path) -> None:
    client, other = as_(Role.ENGINEER), as_(Role.ADMIN)
    made = [begin(client) for _ in range(uploads.MOST_OPEN)]
    for answer in (other.get(made[0]), send(other, made[0], "config.json", b"{}"), other.delete(made[0])):
        assert answer.status_code == 404
    full = client.post("/v1/model-uploads", json={"name": "one more"})
    assert (full.status_code, full.json()["type"]) == (429, "urn:rankloop:too-many-uploads")
    assert client.delete(made[0]).status_code == 204
    old = home / "model-uploads" / made[1].rpartition("/")[2]
    long_ago = time.time() - uploads.KEPT_SECONDS - 60
    for path in (old / uploads.ABOUT, old / "files"):
        os.utime(path, (long_ago, long_ago))
    begin(client)
    begin(client)  # the old one made room
    assert client.get(made[1]).status_code == 404


def test_a_crash_between_the_rename_and_the_row_is_mended_by_asking_again(
    as_: As, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = as_(Role.ENGINEER)
    at = begin(client)
    fill(client, at)
    with monkeypatch.context() as crash:
        crash.setattr("annotation_api.models.queries.hold_path", lambda session, path: 1 / 0)
        assert client.post(f"{at}:finish").status_code == 500
    begin(as_(Role.ENGINEER))  # nobody else is kept from it
    late = send(client, at, "config.json", b"{}")
    assert (late.status_code, late.json()["type"]) == (409, "urn:rankloop:upload-whole")
    answer = client.post(f"{at}:finish")
    assert answer.status_code == 201
    assert Path(answer.json()["path"], "config.json").is_file()


@pytest.mark.parametrize("left", [None, f"{uploads.ABOUT}.part"])
def test_what_a_crash_left_of_a_beginning_keeps_nobody_from_theirs_and_goes_with_time(
    as_: As, home: Path, left: str | None
) -> None:
    folder = home / "model-uploads" / str(uuid.uuid4())
    (folder / "files").mkdir(parents=True)
    if left:
        (folder / left).write_text('{"person": "')
    begin(as_(Role.ENGINEER))
    assert folder.is_dir()
    long_ago = time.time() - uploads.KEPT_SECONDS - 60
    for path in folder.iterdir():
        os.utime(path, (long_ago, long_ago))
    begin(as_(Role.ENGINEER))
    assert not folder.exists()


# ---------------------------------------------------------------- the command


@pytest.fixture
def live(module_engine: Engine, factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    app = app_of(Settings(database_url="postgresql://given", home=tmp_path / "home"), module_engine)
    with session_factory(module_engine).begin() as session:
        engineer = factory(session).person(Role.ENGINEER)
        _, key = people.add_api_key(session, engineer, NewApiKey(name="k"))
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, data in (FILES | {"README.md": b"x", "pytorch_model.bin": b"x"}).items():
        (folder / name).write_bytes(data)
    with served(app) as url:
        monkeypatch.setenv("RANKLOOP_URL", url)
        monkeypatch.setenv("RANKLOOP_API_KEY", key)
        yield folder


def test_the_command_sends_a_folder_and_goes_on_after_a_break(
    live: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "PART", 7)
    whole = models.Client.send_part

    def breaks(self: Any, path: str, data: bytes, offset: int) -> Any:
        if path.endswith("tokenizer.json"):
            raise models.ClientError("The connection failed.")
        return whole(self, path, data, offset)

    monkeypatch.setattr(models.Client, "send_part", breaks)
    assert main(["models", "upload", str(live), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)["error"]
    monkeypatch.setattr(models.Client, "send_part", whole)
    key = told.partition("--resume ")[2]
    assert main(["models", "upload", str(live), "--resume", key, "--json"]) == 0
    model = json.loads(capsys.readouterr().out)
    assert {path.name: path.read_bytes() for path in Path(model["path"]).iterdir()} == FILES
    assert main(["models", "upload", str(live / "nowhere"), "--json"]) == 1


def test_what_is_wrong_is_told_by_the_folder_that_was_typed_and_a_mended_file_is_sent_again(
    live: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = (live / "model.safetensors").read_bytes()
    (live / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert main(["models", "upload", str(live), "--name", "sent"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"rankloop: {live}: sent cannot be used: model.safetensors is a pointer of Git LFS")
    assert "model-uploads" not in told
    again = told.strip().partition("To go on: rankloop ")[2]
    assert again.startswith(f"models upload {live} --resume ")
    (live / "model.safetensors").write_bytes(good)
    assert main([*again.split(), "--json"]) == 0
    model = json.loads(capsys.readouterr().out)
    assert Path(model["path"], "model.safetensors").read_bytes() == good


def test_an_upload_that_cannot_go_on_is_told_to_start_anew(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (live / "adapter_config.json").write_bytes(b'{"peft_type": "LORA"}')
    assert main(["models", "upload", str(live)]) == 1
    told = capsys.readouterr().err
    assert "adapters" in told
    again = told.strip().partition("To go on: rankloop ")[2].split()
    (live / "adapter_config.json").unlink()
    assert main(again) == 1
    told = capsys.readouterr().err
    assert told.startswith(
        f"rankloop: {live} lacks adapter_config.json, which the upload has. To start anew: rankloop "
    )
    assert main([*again[:-1], str(uuid.uuid4())]) == 1
    gone = capsys.readouterr().err
    assert "To go on" not in gone
    assert gone.partition("To start anew: ")[2] == told.partition("To start anew: ")[2]
    assert main([*again[:-1], str(uuid.uuid4()), "--name", "my own"]) == 1
    anew = shlex.split(capsys.readouterr().err.partition("To start anew: rankloop ")[2])
    assert anew == ["models", "upload", str(live), "--name", "my own"]
    assert main(anew) == 0


def test_the_bytes_of_parts_count_before_they_come(as_: As, app: FastAPI, home: Path) -> None:
    app.state.settings = app.state.settings.model_copy(update={"upload_bytes_per_hour": 10})
    client = as_(Role.ENGINEER)
    at = begin(client)
    assert send(client, at, "config.json", b"{" * 8).status_code == 200
    refused = send(client, at, "config.json", b"}" * 8, offset=8)
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:rankloop:quota-reached")
    assert "10 bytes uploaded in an hour" in refused.json()["detail"]
    unsaid = client.put(f"{at}/files/config.json", content=iter([b"{"]), headers=OCTETS)
    assert (unsaid.status_code, unsaid.json()["type"]) == (411, "urn:rankloop:no-length")
    assert client.get(at).json()["files"] == {"config.json": 8}
