"""How the demo ends where its folder, or who reads it, is not there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from annotation_api.cli import main
from annotation_api.demo import run


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "demo"
    said = f"--out {out} cannot be written: Not a directory."
    assert main(["demo", "--out", str(out)]) == 1
    assert capsys.readouterr() == ("", f"rankloop demo: {said}\n")
    assert main(["demo", "--out", str(out), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"error": said}


def test_its_verdict_stands_though_nobody_reads_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def report(out: Path, _report: dict[str, Any]) -> Any:
        (out / "report.json").write_text("{}")
        return SimpleNamespace(aligned=True, text="")

    monkeypatch.setattr(run, "write_report", report)
    monkeypatch.setattr(run, "Demo", lambda *given: SimpleNamespace(run=dict))
    monkeypatch.setattr(run, "Service", MagicMock())
    monkeypatch.setattr(run, "start_module", MagicMock())
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert run.main(tmp_path, 0, as_json=True) == 0
