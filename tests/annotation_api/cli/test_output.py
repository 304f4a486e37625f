"""What is printed of other people's words: nothing that steers a terminal, and JSON that stays the same value."""

from __future__ import annotations

import json

import pytest

from annotation_api.cli.output import emit, facts, remark, say, table

STEERING = "a\x1b]0;owned\x07b\x9b31mc\rd\u202ee\udce9\x7f"


@pytest.mark.parametrize(
    "put",
    [say, remark, lambda text: facts({text: text}), lambda text: table([{"name": text}], ["name"]), emit],
    ids=["say", "remark", "facts", "table", "emit"],
)
def test_nothing_steers_the_terminal(put: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(put)
    put(STEERING)
    put({"name": STEERING} if put is emit else STEERING)
    read = capsys.readouterr()
    written = read.out + read.err
    written.encode()
    assert not set("\x1b\x07\x9b\r\u202e\x7f") & set(written)
    assert "\\u001b]0;owned\\u0007b" in written


def test_lines_tabs_and_other_scripts_stay(capsys: pytest.CaptureFixture[str]) -> None:
    text = "一\tdeux\nשלום 👩‍👩‍👧"
    say(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_json_is_the_same_value(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"name": STEERING})
    assert json.loads(capsys.readouterr().out) == {"name": STEERING}


@pytest.mark.parametrize("put", [lambda text: facts({"note": text}), lambda text: table([{"note": text}], ["note"])])
def test_no_text_passes_for_another_line_or_column(put: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(put)
    put("fine\nstate  succeeded\u2028state  failed\tyes")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith(r"fine\nstate  succeeded\u2028state  failed\tyes")
    assert not [line for line in lines if line.startswith("state")]
