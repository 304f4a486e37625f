"""What the command line of the science shows of other people's texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignment.__main__ import main
from alignment.shared.sentence import Sentence
from alignment.terminal import TerminalReporter

STEERING = "a\x1b]0;owned\x07b\x9b31mc\rd\u202ee\u2028\x7f\ud800"


def test_no_text_of_a_model_or_of_a_file_steers_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    reporter = TerminalReporter()
    reporter.samples(1, [{"prompt": STEERING, "response": f"{STEERING}\nSaved model (1 MB)."}])
    reporter.note(Sentence("note-of-a-row", "Left out: %(row)s", row=STEERING), level="warning")
    assert main(["check", str(tmp_path / STEERING[:-1])]) == 1
    shown = capsys.readouterr()
    written = shown.out + shown.err
    written.encode()
    assert not set("\x1b\x07\x9b\r\u202e\u2028\x7f") & set(written)
    assert not [line for line in written.splitlines() if line.startswith("Saved")]
    assert written.count("\\u001b]0;owned\\u0007b") >= 3
