"""Every variant of the stages that need no trainer, run whole through `stages.run` on a tiny model."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from alignment.models.load import load_scorer, save_adapter
from alignment.shared import stages
from alignment.shared.config import Baseline, LoRAConfig, Stage
from alignment.shared.events import NullReporter
from alignment.shared.records import Demonstration, Prompt, write_jsonl
from tests.gpu.bench import Bench
from tests.support.alignment import small_ppo, tiny

LORA = {"rank": 4}
SHORT = {"updates": 2, "evaluate_every": 2, "compare_prompts": 0, "evaluate_replies": 16, "heldout_fraction": 0.1}
SETTINGS = small_ppo.SETTINGS | SHORT
BRIEF = {"updates": 3, "save_every": 1}
PPO: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"lora": LORA},
    "one base": {"lora": LORA, "judge": "adapter"},
    "full on a judge of adapters": {"judge": "adapter"},
    "recomputed": {"lora": LORA, "gradient_checkpointing": True},
    "kl in the loss": {"kl_in": "loss", "kl_estimator": "k2", "entropy_coef": 0.01},
    "continuous": {"rollout_engine": "continuous"},
    "continuous, lora": {"rollout_engine": "continuous", "lora": LORA},
    "averaged, with pretraining": {"ema_decay": 0.9, "ptx_coef": 1.0, "ptx_examples": 1, "pretraining": True},
    "several steps": {"mini_batches": 2, "inner_epochs": 2, "whiten_rewards": True, "kl_controller": "adaptive"},
}


def checks() -> dict[str, Callable[[Bench], Mapping[str, Any]]]:
    """One for each variant."""
    found: dict[str, Any] = {
        f"ppo: {name}": functools.partial(_policy, stage=Stage.PPO, given=given) for name, given in PPO.items()
    }
    for name, given in {"full": {}, "lora": {"lora": LORA, "judge": "adapter"}}.items():
        found[f"rloo: {name}"] = functools.partial(_policy, stage=Baseline.RLOO, given=given)
    return found | {"best of n": best_of_n, "sample": sample, "resume": resume, "without the gpu": without_the_gpu}


def _policy(bench: Bench, stage: Stage | Baseline, given: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in given.items() if name not in ("judge", "pretraining")}
    inputs = small_ppo.inputs_of(bench.folders)
    if "judge" in given:
        inputs["reward_model"] = judge_of_adapters(bench)
    if "pretraining" in given:
        inputs["pretraining"] = demonstrations(bench)
    result = _run(bench, stage, SETTINGS | settings, inputs)
    first = result.details["curve"][0]
    assert abs(first["kl"]) < 0.05, f"the KL before the first step is {first['kl']}"
    return {name: first[name] for name in ("kl", "ratio", "engine_gap", "grad_norm")}


def best_of_n(bench: Bench) -> dict[str, Any]:
    settings = {"responses_per_prompt": 4, "max_response_length": 8, "max_length": 64, "batch_size": 16}
    inputs = {"model": bench.folders / "sft", "reward_model": bench.folders / "reward", "prompts": few(bench)}
    return {"score": _run(bench, Baseline.BEST_OF_N, settings, inputs).metrics["score"]}


def sample(bench: Bench) -> dict[str, Any]:
    settings = {"max_response_length": 8, "batch_size": 16, "distinct": False}
    inputs = {"models": {"sft": bench.folders / "sft"}, "prompts": few(bench)}
    return {"responses": _run(bench, Stage.SAMPLE, settings, inputs).metrics["responses"]}


def resume(bench: Bench) -> dict[str, Any]:
    """A run that goes on from its checkpoint against one that was never stopped: the largest difference."""
    straight, saved = ({"updates": 4, "save_every": 2, "schedule": "constant", "save_adapter": False} for _ in range(2))
    folder = bench.scratch / "resume"
    inputs = small_ppo.inputs_of(bench.folders)
    whole = _run(bench, Stage.PPO, SETTINGS | straight, inputs | {"checkpoints": folder})
    shutil.rmtree(next(path for path in folder.rglob("checkpoint-4")))
    again = _run(bench, Stage.PPO, SETTINGS | saved, inputs | {"checkpoints": folder})
    gaps = [
        abs(a[name] - b[name])
        for a, b in zip(whole.details["curve"], again.details["curve"], strict=True)
        for name in ("policy_loss", "value_loss", "kl", "score")
    ]
    assert max(gaps) < 0.05, f"the resumed run differs by {max(gaps)}"
    return {"largest_difference": max(gaps), "bit_by_bit": not any(gaps)}


def without_the_gpu(bench: Bench) -> dict[str, Any]:
    """A run that began here goes on from its checkpoint in a process that sees no GPU."""
    if bench.device.type == "cpu":
        return {"gpu": "none to take away"}
    folder = bench.scratch / "taken"
    inputs = small_ppo.inputs_of(bench.folders) | {"checkpoints": folder}
    _run(bench, Stage.PPO, SETTINGS | BRIEF, inputs)
    shutil.rmtree(next(path for path in folder.rglob(f"checkpoint-{BRIEF['updates']}")))
    command = [sys.executable, "-m", "tests.gpu.stage_checks", bench.folders, folder, bench.scratch / "cpu"]
    there = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(list(map(str, command)), env=there, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr.strip().splitlines()[-1]
    return {"updates": int(ran.stdout)}


def _go_on(folder: Path, checkpoints: Path, out: Path) -> None:
    inputs = small_ppo.inputs_of(folder) | {"checkpoints": checkpoints}
    with patch("alignment.ppo.loop.write_files"):
        result = stages.run(Stage.PPO, SETTINGS | BRIEF, inputs, out, NullReporter())
    print(int(result.metrics["updates"]))


def judge_of_adapters(bench: Bench) -> Path:
    """A reward model that is adapters on the tiny policy's base."""
    folder = bench.scratch / "judge"
    if not folder.exists():
        model = load_scorer(bench.folders / "sft", tiny.tokenizer(), trained=True, light=LoRAConfig(rank=2), seed=3)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.05)
        save_adapter(model, tiny.tokenizer(), folder, str(bench.folders / "sft"))
    return folder


def demonstrations(bench: Bench) -> Path:
    path = bench.scratch / "demonstrations.jsonl"
    write_jsonl(path, [Demonstration(prompt=prompt, response="w1 w2") for prompt in small_ppo.PROMPTS])
    return path


def few(bench: Bench) -> Path:
    path = bench.scratch / "few.jsonl"
    write_jsonl(path, [Prompt.from_text(f"w{i} w{i + 1}") for i in range(4)])
    return path


def _run(
    bench: Bench, stage: Stage | Baseline, settings: Mapping[str, Any], inputs: Mapping[str, Any]
) -> stages.StageResult:
    out = bench.scratch / "out"
    shutil.rmtree(out, ignore_errors=True)
    known = stages.config_class(stage).model_fields
    config = {name: value for name, value in settings.items() if name in known}
    with patch("alignment.ppo.loop.write_files"):  # pages are for people
        return stages.run(stage, config, dict(inputs), out, NullReporter())


if __name__ == "__main__":
    _go_on(*map(Path, sys.argv[1:]))
