"""Words for people, JSON for scripts: with --json nothing else is printed, on either stream."""

from __future__ import annotations

import argparse
import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from annotation_api.cli import command_line
from annotation_api.cli.commands import prepare
from annotation_api.cli.parsers import Parser
from annotation_api.db.tables import Role
from tests.annotation_api.cli.test_cli import BAD, PAIRS, Live, Run, ask, data, live, run, write

__all__ = ["ask", "data", "live", "run"]  # fixtures
NO_JSON = {"rankloop serve", "rankloop completion", "rankloop models convert"}  # a process, a shell's script, a path


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


def test_a_folder_that_is_none_is_json_too(capfd: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["models", "check", "nowhere", "--json"]) == 1
    out, err = capfd.readouterr()
    assert err == ""
    assert json.loads(out)["error"].startswith("nowhere cannot be used: ")
