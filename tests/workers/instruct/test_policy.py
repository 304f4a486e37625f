"""A policy of ours as who answers, and its tokenizer as what measures."""

from __future__ import annotations

import json
import shutil
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
    assert measure.count([]) == []  # what is left after the last full batch
    assert measure.context is not None


def test_a_model_is_measured_by_the_settings_that_were_checked(folder: Path, tmp_path: Path) -> None:
    """Its folder is somebody's: what is no setting of its family reaches no library."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(settings | {"get_text_config": 5}))
    assert measure_of(copy).context == measure_of(folder).context
