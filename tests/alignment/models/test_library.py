"""The library's releases are spoken to in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import Gemma3Config

from alignment.models import library
from alignment.models.load import load_causal_lm, load_scorer, load_tokenizer
from tests.support.alignment import families

NEWER = ("sub_configs_defaults", "activation_checkpointing_enable", "page_size=")


def test_what_came_after_5_17_is_named_in_one_module() -> None:
    root = Path(library.__file__).parents[1]
    named = {p.name for p in root.rglob("*.py") if any(word in p.read_text("utf-8") for word in NEWER)}
    assert named <= {"library.py"}


class Older:
    """A model as 5.17 has it."""

    recomputes = False

    def gradient_checkpointing_enable(self) -> None:
        self.recomputes = True


class Newer(Older):
    newer = False

    def activation_checkpointing_enable(self) -> None:
        self.newer = True


def test_activations_are_recomputed_by_either_name() -> None:
    older, newer = Older(), Newer()
    library.recompute_activations(older)
    library.recompute_activations(newer)
    assert older.recomputes
    assert newer.newer
    assert not newer.recomputes, "the older name warns"


@pytest.mark.parametrize("name", ["page_size", "block_size"])
def test_pages_by_either_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from dataclasses import make_dataclass

    kind: Any = make_dataclass("Batching", [(name, int), ("num_blocks", int)])
    monkeypatch.setattr(library, "ContinuousBatchingConfig", kind)
    assert vars(library.paged(32, num_blocks=3)) == {name: 32, "num_blocks": 3}


def test_a_config_says_what_it_is_made_of() -> None:
    assert "text_config" in library.parts_of(Gemma3Config)


def test_a_head_of_ours_stands_on_the_tables_that_its_family_computes(tmp_path: Path) -> None:
    """Falcon-H1's are in no file: the library computes them anew when it loads a model of its own."""
    tokenizer = load_tokenizer(families.save("falcon_h1", tmp_path))
    own = dict(load_causal_lm(tmp_path, tokenizer, trained=False).named_buffers())
    found = dict(load_scorer(tmp_path, tokenizer, trained=False).named_buffers())
    assert {name: table.equal(own[name]) for name, table in found.items()} == dict.fromkeys(found, True)
