"""What a machine with other GPUs than this one does to a stage, by pretence: several, none any more, fewer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from alignment import sft
from alignment.shared import artifact, stages
from alignment.shared.config import Stage
from alignment.shared.events import NullReporter, Paused
from alignment.shared.records import Demonstration, write_jsonl
from tests.support.alignment.kills import RecordingReporter
from tests.support.alignment.small_ppo import PROMPTS, SETTINGS, inputs_of

pytestmark = pytest.mark.slow


def test_a_process_that_sees_several_gpus_takes_the_batch_that_was_asked_for(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library would spread micro-batches over all of them: half as many steps."""
    write_jsonl(folders / "told.jsonl", [Demonstration(prompt=prompt, response="w1 w2") for prompt in PROMPTS])
    asked = sft.common_arguments
    monkeypatch.setattr(sft, "common_arguments", lambda *of: asked(*of) | {"use_cpu": False})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    reporter = RecordingReporter()
    settings = {"batch_size": 16, "micro_batch_size": 8, "epochs": 1.0, "max_length": 64}
    inputs = {"model": folders / "sft", "demonstrations": folders / "told.jsonl"}
    stages.run(Stage.SFT, settings, inputs, folders / "out", reporter)
    assert reporter.steps == [1, 2, 3, 4]


GPU_STATE = torch.arange(16, dtype=torch.uint8)  # as long as that of a CUDA generator


def paused(folder: Path) -> Path:
    """The checkpoint of a PPO run after two of its three updates."""
    with pytest.raises(Paused):
        resume(folder, RecordingReporter(pause_at=2))
    (found,) = (folder / "saved").glob("*/checkpoint-2")
    return found


def resume(folder: Path, reporter: NullReporter) -> None:
    inputs = inputs_of(folder) | {"checkpoints": folder / "saved"}
    stages.run(Stage.PPO, SETTINGS | {"updates": 3}, inputs, folder / "out", reporter)


def rewrite(checkpoint: Path, **states: torch.Tensor) -> None:
    """With other states of generators in it, and whole."""
    file = checkpoint / "random.safetensors"
    save_file(load_file(file) | states, file)
    (checkpoint / artifact.MANIFEST).unlink()
    artifact.write_manifest(checkpoint)


def test_a_checkpoint_from_two_gpus_goes_on_where_there_is_none(folders: Path) -> None:
    rewrite(paused(folders), **{name: GPU_STATE.clone() for name in ("sampling", "cuda-0", "cuda-1")})
    reporter = RecordingReporter()
    resume(folders, reporter)
    assert reporter.steps == [3]


def test_a_checkpoint_from_a_cpu_goes_on_where_there_is_a_gpu(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paused(folders)
    monkeypatch.setattr(torch.cuda, "default_generators", (torch.Generator(), torch.Generator()))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("alignment.models.load.pick_device", lambda: torch.device("cpu"))
    reporter = RecordingReporter()
    resume(folders, reporter)
    assert reporter.steps == [3]
