"""What a refusal is about, as who typed the command knows it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from alignment.shared.validation import Problem
from annotation_api.cli.client import ClientError, checked, find_credentials
from annotation_api.cli.command_line import main
from annotation_api.cli.problems import told
from annotation_api.web.markup.rendering import _place


@pytest.mark.parametrize(
    ("pointer", "typed", "shown"),
    [
        ("/sha256/a:b.bin", "/sha256/a:b.bin", "sha256.a:b.bin"),
        ("header:Idempotency-Key", "Idempotency-Key", "Idempotency-Key"),
        ("query:tag", "--tag", "tag"),
        ("query:created_by", "--mine", "created_by"),
        ("query:job.0", "JOB", "job.0"),
        ("path:job_id", "'7'", "7"),
        ("/config/sft", "/config/sft", "config.sft"),
    ],
)
def test_a_problem_names_what_was_typed(pointer: str, typed: str, shown: str) -> None:
    assert told({"pointer": pointer, "message": "no", "value": "7"}) == f"{typed}: no"
    assert _place(Problem(pointer=pointer, message="no", value="7")) == shown


def test_a_password_in_the_address_is_not_printed() -> None:
    request = httpx.Request("GET", "http://u:secret@h:81/rankloop/v1/jobs?name=x")
    body = {"detail": "No.", "type": "urn:rankloop:forbidden"}
    with pytest.raises(ClientError, match="makes a key at http://h:81/rankloop/keys; set"):
        checked(httpx.Response(403, json=body, request=request))
    with pytest.raises(ClientError, match=r"^http://h:81/rankloop/v1/jobs answered 502; "):
        checked(httpx.Response(502, request=request))


@pytest.mark.parametrize(
    ("typed", "bare"),
    [
        ("http://u:secret@127.0.0.1:1/x", "http://127.0.0.1:1/x"),
        ("http://u:secret/s@127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://u:secret@h:bad", "http://h:bad"),
        ("u:secret@h", "h"),
    ],
)
def test_nor_is_one_sent_in_place_of_the_key(
    typed: str, bare: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANKLOOP_URL", typed)
    monkeypatch.setenv("RANKLOOP_API_KEY", "rl_x")
    assert main(["jobs", "list"]) == 1
    err = capsys.readouterr().err
    assert f"RANKLOOP_URL holds a name or a password before {bare}, which would be sent in place of the key" in err
    assert "secret" not in err


@pytest.mark.parametrize("typed", ["http://h:bad", "127.0.0.1:8000", "ftp://h", "h"])
def test_an_address_that_is_none_is_refused_with_what_one_is(
    typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANKLOOP_URL", typed)
    monkeypatch.setenv("RANKLOOP_API_KEY", "rl_x")
    assert main(["jobs", "list"]) == 1
    assert f"{typed} is no address of a service; one is http://HOST:PORT." in capsys.readouterr().err


def test_nor_where_a_key_is_for_another_service(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text('{"url": "http://u:secret@a", "api_key": "rl_a"}')
    with pytest.raises(ClientError, match=r"RANKLOOP_URL is http://b, but .* holds a key for http://a: set"):
        find_credentials({"RANKLOOP_HOME": str(tmp_path), "RANKLOOP_URL": "http://b"})


def test_a_service_below_a_path_has_its_keys_there() -> None:
    request = httpx.Request("GET", "http://h/rankloop/v1/jobs?name=/v1/x")
    body = {"detail": "No.", "type": "urn:rankloop:forbidden"}
    with pytest.raises(ClientError, match="makes a key at http://h/rankloop/keys; set"):
        checked(httpx.Response(403, json=body, request=request))
