"""What `:validate` says that a job takes, beside what it takes: SFT, reward model and PPO, full and LoRA, three sizes.

    python -m tests.benchmarks.bench_memory [--only ppo]

Each job runs in a process of its own, with checkpoints, on random weights; measured is its peak memory above the
imports. The estimate counts where it is above 500 MB, and is to be within 20 % there; below that, what no estimate
knows (thread stacks, the tokenizer, pages of files) is a large part.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from alignment.shared.config import CONFIGS, LoRAConfig, Stage, TrainingConfig
from alignment.shared.memory import OnDevice, memory_of
from annotation_api.jobs.validation.shapes import shape_of
from tests.benchmarks.peers.ppo import Work, architecture, resident, words

SIZES = {"small": Work(4, 256, 8192), "medium": Work(6, 512, 8192), "large": Work(8, 768, 8192)}
STAGES = (Stage.SFT, Stage.REWARD, Stage.PPO)
COUNTS_FROM, WITHIN = 500.0, 0.2  # MB; share
SHARED = {"batch_size": 16, "micro_batch_size": 4, "max_length": 160, "save_every": 1}
SETTINGS: dict[Stage, dict[str, Any]] = {
    Stage.SFT: {"epochs": 1.0},
    Stage.REWARD: {"epochs": 1.0},
    Stage.PPO: {
        "max_response_length": 64, "updates": 3, "inner_epochs": 1, "evaluate_every": 3, "evaluate_replies": 16,
        "heldout_fraction": 0.2, "missing_eos": "keep", "compare_prompts": 0, "max_kl": 1e6,
    },
}  # fmt: skip


def main() -> None:
    """A JSON line a job; exits 1 where an estimate that counts is off by more."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=Stage, choices=STAGES)
    parser.add_argument(
        "--run", nargs=4, metavar=("FOLDER", "STAGE", "TRAINED", "SIZE"), help="one job, in this process"
    )
    args = parser.parse_args()
    if args.run:
        print(json.dumps(_run(Path(args.run[0]), Stage(args.run[1]), args.run[2] == "LoRA", args.run[3])))
        return
    stages = [args.only] if args.only else STAGES
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as scratch:
        for name, work in SIZES.items():
            write_models(Path(scratch) / name, work)
        rows = [_row(Path(scratch), *cell) for cell in itertools.product(stages, ("full", "LoRA"), SIZES)]
    counted = [row["off"] for row in rows if row["measured_mb"] > COUNTS_FROM]
    worst = max(map(abs, counted), default=0.0)
    print(json.dumps({"worst": worst, "counted": len(counted), "load": round(os.getloadavg()[0], 2)}))
    sys.exit(worst > WITHIN)


def write_models(folder: Path, work: Work) -> None:
    """Policy, whole reward model, adapters on the policy, and records."""
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification

    from alignment.models.load import load_scorer, load_tokenizer, save_adapter
    from alignment.shared.records import Demonstration, Prompt, Ranking, write_jsonl

    for name, kind in {"sft": LlamaForCausalLM, "whole": LlamaForSequenceClassification}.items():
        kind(architecture(work)).save_pretrained(folder / name)
        words(work).save_pretrained(folder / name)
    tokenizer = load_tokenizer(folder / "sft")
    model = load_scorer(folder / "sft", tokenizer, trained=True, light=LoRAConfig())
    save_adapter(model, tokenizer, folder / "adapter", str(folder / "sft"))
    texts = [" ".join(f"t{i}" for i in ids) for ids in replace(work, prompt=96).prompts()[:64]]
    prompts = [Prompt.from_text(text) for text in texts]
    write_jsonl(folder / "prompts.jsonl", prompts)
    replies = [[" ".join(f"t{5 + (k * n + i) % 8000}" for i in range(62)) for k in range(1, 5)] for n in range(1, 65)]
    pairs = list(zip(prompts, replies, strict=True))
    write_jsonl(folder / "demonstrations.jsonl", [Demonstration(prompt=p, response=said[0]) for p, said in pairs])
    ranked = [Ranking(prompt=p, responses=tuple(said), groups=((0,), (1,), (2,), (3,))) for p, said in pairs]
    write_jsonl(folder / "rankings.jsonl", ranked)


def _row(scratch: Path, stage: Stage, trained: str, size: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_memory", "--run", str(scratch), stage, trained, size]
    cores = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}  # all, as a job has them
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=cores).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    row = {"stage": stage, "trained": trained, "size": size, **found}
    print(json.dumps(row), flush=True)
    return row


def _run(scratch: Path, stage: Stage, lora: bool, size: str) -> dict[str, Any]:
    """One job to its end."""
    from alignment.shared import stages
    from alignment.shared.events import NullReporter

    folder = scratch / size
    settings = SHARED | SETTINGS[stage] | ({"lora": {"rank": 16}} if lora else {})
    inputs = {"model": folder / "sft", "checkpoints": scratch / "saved" / f"{stage}-{lora}-{size}"} | data_of(
        folder, stage, lora
    )
    out = scratch / "out" / f"{stage}-{lora}-{size}"
    out.mkdir(parents=True)
    load_libraries(stage, lora)
    imports = resident("VmHWM")
    stages.run(stage, settings, inputs, out, NullReporter())
    measured = resident("VmHWM") - imports
    config = CONFIGS[stage].model_validate(settings)
    assert isinstance(config, TrainingConfig)
    roles = ("model", "reward_model") if stage is Stage.PPO else ("model",)
    shapes = {role: shape for role in roles if (shape := shape_of(inputs[role]))}
    memory = memory_of(config, shapes, OnDevice(0, judge_on_base=lora))
    estimate = memory.total / 2**20
    return {
        "weights": shapes["model"].weights,
        "measured_mb": round(measured),
        "estimate_mb": round(estimate),
        "off": round(estimate / measured - 1, 3),
        "parts_mb": {
            name: round(getattr(memory, name) / 2**20)
            for name in ("weights", "gradients", "optimizer", "activations", "logits", "cache", "host")
        },
    }


def data_of(folder: Path, stage: Stage, lora: bool) -> dict[str, Path]:
    if stage is Stage.SFT:
        return {"demonstrations": folder / "demonstrations.jsonl"}
    if stage is Stage.REWARD:
        return {"rankings": folder / "rankings.jsonl"}
    return {"reward_model": folder / ("adapter" if lora else "whole"), "prompts": folder / "prompts.jsonl"}


def load_libraries(stage: Stage, lora: bool) -> None:
    """What the stage imports by itself, so that it is no part of the measure."""
    import alignment.ppo.stage
    import alignment.reward.stage
    import alignment.sft  # noqa: F401

    if lora:
        import peft  # noqa: F401


if __name__ == "__main__":
    main()
