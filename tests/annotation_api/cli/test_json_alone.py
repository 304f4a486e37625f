"""Words for people, JSON for scripts: with --json nothing else is printed, on either stream."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from annotation_api.cli import command_line
from annotation_api.cli.commands import operations, prepare, watch
from annotation_api.cli.parsers import Parser
from annotation_api.cli.streamed import StreamedEvent
from annotation_api.db.tables import Role
from annotation_api.operations.backup import BackupReport
from tests.annotation_api.cli.test_cli import BAD, PAIRS, Live, Run, ask, data, live, run, write

__all__ = ["ask", "data", "live", "run"]  # fixtures
NO_JSON = {"rankloop serve", "rankloop completion"}  # a process, a shell's script


NO_SERVER = {"RANKLOOP_POSTGRES_BIN": "/nowhere"}  # of `demo`, which has a database of its own


def commands(parser: Parser) -> Iterator[Parser]:
    """Every command that holds no others."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield parser
    for action in inner:
        for each in action.choices.values():
            yield from commands(each)


def test_every_command_takes_json() -> None:
    without = {each.prog for each in commands(command_line._parser()) if "--json" not in each.format_help()}
    assert without == NO_JSON


def test_every_command_and_every_argument_has_a_word_of_help() -> None:
    for each in commands(command_line._parser()):
        each.complete()
        assert each.description, each.prog
        assert [action.dest for action in each._actions if not action.help] == [], each.prog


@pytest.mark.parametrize(
    "words",
    [
        ("import", "bad.jsonl", "--as", "preferences"),
        ("import", "bad.jsonl", "--as", "preferences", "--skip-bad"),
        ("import", "bad.jsonl", "--as", "preferences", "--preview"),
        ("jobs", "list"),
        ("jobs", "show", "nobody"),
        ("models", "list", "--tag", "x"),
        ("datasets", "list"),
        ("datasets", "show", "DATASET"),
        ("snapshots", "list"),
        ("pipeline", "list", "--name", "x"),
        ("export", "dataset:DATASET"),
        ("erase", "record", "--dataset", "DATASET", "--row", "1"),
        ("users", "list"),
        ("leaderboard",),
    ],
)
def test_json_stands_alone(run: Run, data: tuple[str, str], tmp_path: Path, words: tuple[str, ...]) -> None:
    write(tmp_path / "bad.jsonl", BAD)
    _, out, err = run(*(word.replace("DATASET", data[0]) for word in words), "--json")
    assert err == ""
    assert [json.loads(line) for line in out.splitlines()]


def test_a_person_reads_words_alone(
    run: Run, data: tuple[str, str], live: Live, factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    _, out, err = run("import", write(tmp_path / "good.jsonl", PAIRS), "--as", "preferences")
    assert (out, err.startswith("Imported 20 records as data set ")) == ("", True)
    monkeypatch.setenv("RANKLOOP_API_KEY", live.key(Role.ADMIN, factory))
    code, out, err = run("erase", "record", "--dataset", data[0], "--row", "1")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "Nothing was erased. To erase it for good: the same with --reason WHY --yes"
    assert "dataset rows  3" in out


def test_a_criterion_without_comparisons_is_told(run: Run, data: tuple[str, str]) -> None:
    code, _, err = run("leaderboard", "--criterion", "kindness")
    assert (code, err) == (0, "No comparison of models was judged for 'kindness'; there are some for: none.\n")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_preparation_is_told_in_words_or_as_json(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    report = {"steps": [], "tokens": {}, "before": 7, "after": 5}
    job = {"id": "j", "stage": "prepare", "state": "succeeded", "result": {"details": {"preparation": report}}}

    class Client:
        def get(self, path: str) -> Any:
            return {"items": [{"id": "j"}]} if path == "/v1/jobs" else job

    args = Namespace(data="job:00000000-0000-4000-8000-000000000000", undo=False, keep=False, json=as_json)
    client: Any = Client()
    assert prepare.run(client, args) == 0
    out, err = capsys.readouterr()
    assert err == ""
    if as_json:
        assert json.loads(out)["report"] == report
    else:
        assert out.splitlines() == [
            "7 records before, 5 after.",
            "Nothing was written. To keep it: rankloop prepare job:j --keep",
        ]


@pytest.mark.parametrize("words", [("check", "nowhere"), ("convert", "nowhere", "new")])
def test_a_folder_that_is_none_is_json_too(capfd: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert command_line.main(["models", *words, "--json"]) == 1
    out, err = capfd.readouterr()
    assert err == ""
    assert "nowhere" in json.loads(out)["error"]


@pytest.mark.parametrize(
    "words",
    [
        ("up", "--port", "0"),
        ("migrate",),
        ("demo",),
        ("backup", "b.tar"),
        ("restore", "b.tar"),
        ("prune",),
        ("doctor",),
        ("users", "unlock", "nobody@example.com"),
    ],
)
def test_on_the_machine_of_the_service_it_stands_alone_too(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Each fails, since there is no such database; and a variable that means nothing is in the way."""
    given = {"RANKLOOP_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "RANKLOOP_SLOT": "3"}
    given |= {"RANKLOOP_HOME": str(tmp_path / "home")} | NO_SERVER
    command = [sys.executable, "-m", "annotation_api.cli", *words, "--json"]
    done = subprocess.run(command, env=os.environ | given, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert [json.loads(line) for line in done.stdout.splitlines()]


def test_damage_is_told_once_and_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    report = BackupReport("b.tar", 7, 1, ["models/a.json"], [])
    monkeypatch.setattr(operations, "backup", lambda *given: report)
    assert command_line.main(["backup", "b.tar", "--json"]) == 1
    out, err = capsys.readouterr()
    assert (json.loads(out)["damaged"], err) == (["models/a.json"], "")


def test_a_lost_connection_is_no_word_among_events(capsys: pytest.CaptureFixture[str]) -> None:
    class Client:
        def get(self, path: str) -> Any:
            return {"stage": "sft"}

        def events(self, job: str, lost: Callable[[], None]) -> Iterator[StreamedEvent]:
            lost()
            yield StreamedEvent(1, "end", {})

    client: Any = Client()
    watch.watch(client, "j", as_json=True)
    out, err = capsys.readouterr()
    assert (json.loads(out)["type"], err) == ("end", "")
