"""Texts in one row without padding: the losses of texts apart, or a refusal by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignment.shared import stages
from alignment.shared.config import SFTConfig, Stage
from alignment.shared.errors import BadInput
from alignment.shared.events import NullReporter
from alignment.shared.records import Demonstration, Prompt, write_jsonl
from alignment.training.packed import require_packing
from tests.support.alignment import families

SETTINGS = {"batch_size": 6, "micro_batch_size": 3, "epochs": 2, "max_length": 64, "learning_rate": 1e-3}


def losses(folder: Path, packing: bool) -> list[float]:
    files = {"model": folder / "base", "demonstrations": folder / "rows.jsonl"}
    result = stages.run(Stage.SFT, SETTINGS | {"packing": packing}, files, folder / str(packing), NullReporter())
    return [point["loss"] for point in result.details["curve"]]


@pytest.mark.parametrize("family", ["llama", "mistral", "mixtral"])
def test_a_step_has_the_loss_that_it_has_with_padding(family: str, tmp_path: Path) -> None:
    """Rows of very unequal length, the longest beyond Mistral's window of 8."""
    families.save(family, tmp_path / "base")
    rows = [Demonstration(prompt=Prompt.from_text("w1 " * n), response="w2 w3 " * (13 - n)) for n in range(1, 13)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert losses(tmp_path, True) == pytest.approx(losses(tmp_path, False), abs=2e-4)


@pytest.mark.parametrize("family", ["bloom", "mamba"])
def test_a_model_that_does_not_keep_texts_apart_is_refused_by_name(family: str) -> None:
    with pytest.raises(BadInput, match=f"packing is true, but {family} does not keep texts in one row apart"):
        require_packing(families.causal(family))


def test_what_stands_before_every_text_is_refused() -> None:
    with pytest.raises(ValueError, match="method 'prompt' stands before every text: set packing to false"):
        SFTConfig(method="prompt", packing=True)
