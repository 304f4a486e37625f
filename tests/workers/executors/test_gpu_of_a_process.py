"""What a plain process may say of a GPU, and how much of one it takes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from alignment.shared.config import Stage
from tests.support import stub
from workers.executors import process
from workers.stage.work import StageWork


@pytest.fixture
def torch_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A torch that is only its note of what it was built for; and a GPU in /dev."""
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(process, "Path", lambda path: _Devices() if path == "/dev" else Path(path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "version.py"


class _Devices:
    def glob(self, pattern: str) -> list[str]:
        return ["/dev/nvidia0"]


@pytest.mark.parametrize(
    ("version", "there"), [("cuda = '13.0'\nhip = None", True), ("cuda = None\nhip = None", False), ("hip = '7'", True)]
)
def test_a_gpu_is_one_that_torch_was_built_for(torch_says: Path, version: str, there: bool) -> None:
    torch_says.write_text(version)
    assert process.has_gpu() is there


def test_no_torch_no_gpu(torch_says: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not process.has_gpu()


def test_a_gpu_that_is_hidden_is_none(torch_says: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_says.write_text("cuda = '13.0'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not process.has_gpu()


@pytest.mark.parametrize(
    ("gpus", "given", "said"),
    [
        (0.25, None, "per_process_memory_fraction:0.25"),
        (0.5, "expandable_segments:True", "expandable_segments:True,per_process_memory_fraction:0.5"),
        (1.0, None, None),
        (0.0, None, None),
        (2.0, None, None),
    ],
)
def test_a_share_of_a_gpu_is_a_share_of_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: float, given: str | None, said: str | None
) -> None:
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    if given:
        monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", given)
    work = StageWork(Stage.SFT, {}, {}, tmp_path, stub.run, gpus=gpus)
    assert work.environment().get("PYTORCH_ALLOC_CONF") == said
