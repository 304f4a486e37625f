"""Folders as people bring them: not whole, quantized, with odd settings. Each fault by its name, before any job."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from alignment.models.check import check
from alignment.models.sizes import scan
from alignment.shared.errors import StageError
from tests.support.alignment import families

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 4000000000\n"
PAGE = b"<!DOCTYPE html><html>Sign in</html>"
PROJECTION = "model.layers.0.self_attn.q_proj.weight"
EXPERT = "model.layers.0.mlp.experts.1.up_proj.weight"
Change = Callable[[Path], object]


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    """The same folder with other tensors."""

    def apply(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return apply


def settings(name: str, **changes: Any) -> Change:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))

    return apply


def index(change: Callable[[dict[str, Any]], object] = lambda index: None) -> Change:
    """The weights in two files, and an index that was changed."""

    def apply(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        os.remove(folder / WEIGHTS)
        parts = {f"model-0000{i + 1}-of-00002.safetensors": sorted(tensors)[i::2] for i in range(2)}
        for file, names in parts.items():
            save_file({name: tensors[name] for name in names}, folder / file)
        said = {"metadata": {}, "weight_map": {name: file for file, names in parts.items() for name in names}}
        change(said)
        (folder / INDEX).write_text(json.dumps(said))

    return apply


def twice(folder: Path) -> None:
    index()(folder)
    first, second = (load_file(folder / f"model-0000{i}-of-00002.safetensors") for i in (1, 2))
    name = next(iter(first))
    save_file(second | {name: first[name] * 2}, folder / "model-00002-of-00002.safetensors")


def renamed(name: str) -> Change:
    return lambda folder: (folder / WEIGHTS).rename(folder / name)


def written(name: str, data: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data)


def replaced(name: str, tensor: torch.Tensor) -> Change:
    return weights(lambda tensors: tensors.__setitem__(name, tensor))


FAULTS: dict[str, tuple[str, Change, str]] = {
    "a name twice in the index": (
        "llama",
        lambda f: (index()(f), written(INDEX, b'{"weight_map": {}, "weight_map": {}}')(f)),
        "'weight_map' stands in it twice",
    ),
    "a name twice in the config": (
        "llama",
        lambda f: written("config.json", b'{"model_type": "x", ' + (f / "config.json").read_bytes()[1:])(f),
        "'model_type' stands in it twice",
    ),
    "a tensor in two files": ("llama", twice, "and, by model.safetensors.index.json, in"),
    "files without an index": ("llama", lambda f: (index()(f), (f / INDEX).unlink()), "several need"),
    "another name": ("llama", renamed("consolidated.safetensors"), "only as consolidated.safetensors"),
    "a download that never ended": ("llama", renamed("model.safetensors.incomplete"), "is the rest of a download"),
    "a pointer for weights": ("llama", written(WEIGHTS, POINTER), "a pointer of Git LFS"),
    "a pointer for the tokenizer": ("llama", written("tokenizer.json", POINTER), "a pointer of Git LFS"),
    "a page for the config": ("llama", written("config.json", PAGE), "a page of HTML"),
    "no numbers": (
        "llama",
        replaced(PROJECTION, torch.full((32, 32), torch.inf)),
        "q_proj.weight in .* NaN or infinity",
    ),
    "whole numbers": (
        "llama",
        replaced(PROJECTION, torch.ones(32, 32, dtype=torch.int8)),
        "q_proj.weight .* is quantized",
    ),
    "8-bit floats": (
        "llama",
        replaced(PROJECTION, torch.ones(32, 32).to(torch.float8_e4m3fn)),
        "weights are quantized",
    ),
    "an expert is missing": ("qwen3_moe", weights(lambda t: t.pop(EXPERT)), f"lack 1 .*{EXPERT}"),
    "an expert of another shape": ("qwen3_moe", replaced(EXPERT, torch.ones(2, 2)), f"{EXPERT} .* has the shape"),
    "more experts than files": (
        "qwen3_moe",
        settings("config.json", num_experts=5, num_local_experts=5),
        "lack 3 .*experts.4.",
    ),
    "fewer experts than files": (
        "qwen3_moe",
        settings("config.json", num_experts=3, num_local_experts=3),
        "says 3 experts, its files hold 4",
    ),
    "a padding list": ("llama", settings("generation_config.json", pad_token_id=[1]), r"pad_token_id = \[1\]"),
    "a stop in words": ("llama", settings("generation_config.json", eos_token_id="<eos>"), "eos_token_id = <eos>"),
    "no number for a length": ("llama", settings("tokenizer_config.json", model_max_length="long"), "model_max_length"),
    "a template that cannot be read": (
        "llama",
        written("chat_template.jinja", b"{% for m in messages %}"),
        "refuses a single turn of the user",
    ),
    "a template that says nothing": (
        "llama",
        written("chat_template.jinja", b"hello"),
        "leaves out what the user says",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_by_its_name(name: str, tmp_path: Path) -> None:
    family, change, told = FAULTS[name]
    change(families.save(family, tmp_path, families.chatty()))
    with pytest.raises(StageError, match=told):
        check(tmp_path)


def test_several_templates_need_a_default(tmp_path: Path) -> None:
    families.save("llama", tmp_path, families.chatty())
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    named = [{"name": name, "template": "{{ messages }}"} for name in ("rag", "tool_use")]
    settings("tokenizer_config.json", chat_template=named)(tmp_path)
    with pytest.raises(StageError, match="rag, tool_use, and none called default"):
        check(tmp_path)


@pytest.mark.parametrize("metadata", [None, [], "x"])
def test_what_an_index_says_beside_its_places_is_no_matter(metadata: object, tmp_path: Path) -> None:
    index(lambda said: said.update(metadata=metadata))(families.save("llama", tmp_path, families.chatty()))
    assert check(tmp_path).facts["numbers"] == "all are numbers"


def test_weights_in_both_kinds_and_without_a_place_are_noted(tmp_path: Path) -> None:
    families.save("llama", tmp_path, families.chatty())
    replaced("model.layers.9.mlp.up_proj.weight", torch.zeros(64, 32))(tmp_path)
    written(INDEX, b'{"weight_map": {"a": "b.safetensors"}}')(tmp_path)
    notes = check(tmp_path).notes
    assert any("holds its weights twice" in note for note in notes)
    assert any("1 tensor that the model has no place for" in note for note in notes)


def test_a_large_folder_is_looked_at_for_as_long_as_one_waits(tmp_path: Path) -> None:
    families.save("llama", tmp_path)
    assert "a stage looks at all" in scan(tmp_path, seconds=0)
