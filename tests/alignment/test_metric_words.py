"""Whatever a stage measures has its Chinese on the pages: each runs here on a model of a few thousand weights."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from alignment.shared import stages
from alignment.shared.config import Stage
from alignment.shared.records import Demonstration, Prompt, Ranking, write_jsonl
from annotation_api.web.markup.language import metrics
from tests.support import house
from tests.support.alignment import tiny
from tests.support.alignment.small_ppo import Finished

ON_DATA = ("workers/preparation/work.py", "workers/instruct/work.py")
SMALL = {"batch_size": 8, "micro_batch_size": 8, "max_length": 32, "epochs": 1.0}


def without_chinese(measured: Iterable[Mapping[str, float]]) -> list[str]:
    return sorted({name for each in measured for name in each} - metrics("zh").keys())


@pytest.mark.slow
def test_what_sft_reward_and_sampling_measure(tmp_path: Path, recorder: Any) -> None:
    words = list(itertools.permutations(tiny.WORDS[:6], 2))
    asked = [Prompt.from_text(" ".join(pair)) for pair in words]
    write_jsonl(tmp_path / "d.jsonl", [Demonstration(prompt=prompt, response="w1 w2") for prompt in asked])
    pairs = [Ranking(prompt=prompt, responses=("w1 w2", "w3"), groups=((0,), (1,))) for prompt in asked]
    write_jsonl(tmp_path / "r.jsonl", pairs)
    write_jsonl(tmp_path / "p.jsonl", asked[:4])
    model = tiny.save(tiny.causal(), tmp_path / "base")
    runs: dict[Stage, tuple[dict[str, Any], dict[str, Any]]] = {
        Stage.SFT: ({"model": model, "demonstrations": tmp_path / "d.jsonl"}, SMALL),
        Stage.REWARD: ({"model": model, "rankings": tmp_path / "r.jsonl"}, SMALL | {"heldout_fraction": 0.3}),
        Stage.SAMPLE: ({"models": {"a": model}, "prompts": tmp_path / "p.jsonl"}, {"max_response_length": 4}),
    }
    measured = []
    for stage, (inputs, settings) in runs.items():
        seen = recorder()
        result = stages.run(stage, settings, inputs, tmp_path / stage.value, seen)
        measured += [result.metrics, *(step.metrics for step in seen.steps)]
        assert result.metrics, stage
    assert without_chinese(measured) == []


@pytest.mark.slow
def test_what_ppo_measures(finished: Finished) -> None:
    assert without_chinese([finished.result.metrics, *finished.reported.steps]) == []


def test_what_jobs_on_data_measure() -> None:
    """Their names stand in the code, as keys of `metrics` and of a step."""
    found = {
        str(key.value)
        for path in ON_DATA
        for node in ast.walk(ast.parse((house.ROOT / path).read_text("utf-8")))
        for key in _keys(node)
        if isinstance(key, ast.Constant)
    }
    assert found >= {"before", "after", "changed", "round"}
    assert sorted(found - metrics("zh").keys()) == []


def _keys(node: ast.AST) -> list[ast.expr | None]:
    match node:
        case ast.Assign(targets=[ast.Name(id="metrics")], value=ast.Dict(keys=keys)):
            return keys
        case ast.Call(func=ast.Attribute(attr="step"), args=[ast.Dict(keys=keys), *_]):
            return keys
        case ast.Call(func=ast.Name(id="StageResult"), args=[_, ast.Dict(keys=keys), *_]):
            return keys
    return []
