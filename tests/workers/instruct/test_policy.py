"""A policy of ours as who answers, and its tokenizer as what measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignment.shared.config import InstructConfig
from alignment.shared.errors import BadInput
from alignment.shared.stages import InstructInputs
from tests.support.alignment import tiny
from workers.stage.policy import LocalPolicy, measure_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.causal(), tmp_path_factory.mktemp("model") / "tiny")


def test_a_round_draws_the_same_replies(folder: Path) -> None:
    config = InstructConfig(max_response_length=4)
    policy = LocalPolicy(InstructInputs(seeds=folder, model=folder), config)
    first = policy(["w1 w2", "w3"], 1)
    assert policy.name == "tiny"
    assert [len(first), policy(["w1 w2", "w3"], 1) == first, policy(["w1 w2", "w3"], 2) == first] == [2, True, False]
    with pytest.raises(BadInput, match="Lower shown"):
        policy(["w1 " * 10_000], 1)


def test_a_tokenizer_measures_without_the_weights(folder: Path) -> None:
    measure = measure_of(folder)
    assert measure.count(["w1 w2 w3", "w1"]) == [3, 1]
    assert measure.context is not None
