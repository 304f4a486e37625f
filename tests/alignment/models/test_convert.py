"""Pickled weights become safetensors without anything that runs; the new folder appears whole or not at all."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from alignment import __main__
from alignment.models import convert
from alignment.models.load import load_causal_lm, load_tokenizer
from alignment.shared.errors import StageError
from tests.support.alignment import tiny


def pickled(folder: Path, *, parts: int = 1) -> Path:
    """A folder as OPT's on the hub: its weights as pytorch_model.bin, in one file or in several."""
    folder.mkdir()
    tiny.save(tiny.causal(), folder)
    state = tiny.causal().state_dict()
    (folder / "model.safetensors").unlink()
    if parts == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return folder
    places = {name: f"pytorch_model-{i % parts + 1:05}-of-{parts:05}.bin" for i, name in enumerate(state)}
    for file in set(places.values()):
        torch.save({name: state[name] for name, place in places.items() if place == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


@pytest.mark.parametrize("parts", [1, 2])
def test_a_converted_folder_is_the_same_model(parts: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = pickled(tmp_path / "source", parts=parts)
    tokenizer = load_tokenizer(source)
    with pytest.raises(StageError, match=r"Convert them: rankloop models convert .*source NEW_FOLDER"):
        load_causal_lm(source, tokenizer, trained=False)
    assert __main__.main(["convert", str(source), str(tmp_path / "new")]) == 0
    loaded = load_causal_lm(tmp_path / "new", tokenizer, trained=False)
    for (name, weight), (_, again) in zip(tiny.causal().named_parameters(), loaded.named_parameters(), strict=True):
        assert torch.equal(weight, again), name
    assert __main__.main(["convert", str(source), str(tmp_path / "new")]) == 1
    assert "never overwritten" in capsys.readouterr().err
    assert __main__.main(["convert", str(source), str(tmp_path / "again"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(tmp_path / "again")}


class Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_runs_something_is_refused_and_does_not_run(tmp_path: Path) -> None:
    source = pickled(tmp_path / "source")
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({"w": Attack(tmp_path / "marker")}))
    with pytest.raises(StageError, match=r"pytorch_model\.bin holds something else than tensors"):
        convert.convert(source, tmp_path / "new")
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["../secret.bin", "weights.pt", "/etc/passwd"])
def test_an_index_that_points_elsewhere_is_refused(place: str, tmp_path: Path) -> None:
    source = pickled(tmp_path / "source")
    (source / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"w": place}}))
    with pytest.raises(StageError, match=r"names other files than \.bin files beside it"):
        convert.convert(source, tmp_path / "new")


def test_a_folder_without_such_weights_is_refused(tmp_path: Path) -> None:
    tiny.save(tiny.causal(), tmp_path / "source")
    with pytest.raises(StageError, match=r"it has no pytorch_model\.bin"):
        convert.convert(tmp_path / "source", tmp_path / "new")
