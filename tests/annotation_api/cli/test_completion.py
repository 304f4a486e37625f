"""What tab offers."""

from __future__ import annotations

import io
from typing import Any

import pytest
from argcomplete.finders import CompletionFinder

from annotation_api.cli import command_line, completion
from annotation_api.cli.client import ClientError

ROWS = {
    "jobs": ["first run", "first look", "second"],
    "models": ["first base"],
    "pipelines": ["first whole"],
    "snapshots": ["first frozen"],
    "projects": ["first project"],
    "datasets": ["first prompts", None],
}


class Away:
    def get(self, path: str, **_: Any) -> Any:
        raise ClientError("The service does not answer.")


class There:
    def get(self, path: str, **_: Any) -> Any:
        return {"items": [{"name": name} for name in ROWS[path.rpartition("/")[2]]]}


def offered(monkeypatch: pytest.MonkeyPatch, line: str, client: type[Any] = There) -> list[str]:
    """With the cursor at the end of the line."""

    class Ended(Exception):
        pass

    def end(code: int) -> None:
        assert code == 0
        raise Ended

    for name, value in {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    monkeypatch.setattr(CompletionFinder, "_init_debug_stream", lambda self: None)  # takes file 9, which is pytest's
    monkeypatch.setattr(completion, "Client", lambda credentials: client())
    monkeypatch.setattr(completion, "find_credentials", lambda: None)
    said = io.StringIO()
    with pytest.raises(Ended):
        completion.offer(command_line._parser(), output_stream=said, exit_method=end)
    return [each.strip() for each in said.getvalue().split("\n") if each.strip()]


def test_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"jobs", "models", "pipeline"} <= set(offered(monkeypatch, "rankloop "))
    assert offered(monkeypatch, "rankloop jobs att") == ["attempts"]
    assert "--preset" in offered(monkeypatch, "rankloop jobs create sft --pre")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("rankloop jobs show fir", ["first look", "first run"]),
        ("rankloop compare fir", ["first look", "first run"]),
        ("rankloop compare --models fir", ["first base"]),
        ("rankloop models lineage ", ["first base"]),
        ("rankloop pipeline run --prompts ", ["first prompts"]),
        ("rankloop pipeline resume ", ["first whole"]),
        ("rankloop label pipeline fir", ["first whole"]),
        ("rankloop label dataset fir", ["first prompts"]),
        ("rankloop jobs create sft --data fir", ["first prompts"]),
        ("rankloop snapshots show ", ["first frozen"]),
        ("rankloop agreement fir", ["first project"]),
        ("rankloop jobs log --lines ", []),
    ],
)
def test_names(monkeypatch: pytest.MonkeyPatch, line: str, names: list[str]) -> None:
    found = [each.replace("\\", "") for each in offered(monkeypatch, line) if not each.startswith("-")]
    assert sorted(found) == names


def test_a_service_that_is_away_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [each for each in offered(monkeypatch, "rankloop jobs show fir", Away) if not each.startswith("-")]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_what_the_shell_reads(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["completion", shell]) == 0
    assert "rankloop" in capsys.readouterr().out
