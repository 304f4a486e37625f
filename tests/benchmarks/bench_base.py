"""Peak memory of PPO above the imports: adapters on one base, adapters on a base a role, four whole models.

    python -m tests.benchmarks.bench_base [--micro 1]

The shape is bench_ppo's, 8.4 million weights; each side trains for two updates in a process of its own. Activations of
a micro-batch are the same on all sides: one of a single text leaves mostly what the models take.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.benchmarks.peers.ppo import Work, architecture, resident, words

SIDES: dict[str, dict[str, Any]] = {
    "one base": {"lora": {"rank": 16}, "judge": "adapter"},
    "two bases": {"lora": {"rank": 16}, "judge": "whole"},
    "four models": {"judge": "whole"},
}


def main() -> None:
    """One JSON line: MB above the imports by side, and the share of four models."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--micro", type=int, default=Work.micro, help="texts of a micro-batch, on all sides")
    parser.add_argument("--side", choices=SIDES, help="measure this one, in this process")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(_run(SIDES[options.side], Work(micro=options.micro))))
        return
    command = [sys.executable, "-m", "tests.benchmarks.bench_base", f"--micro={options.micro}"]
    found = {
        side: json.loads(
            subprocess.run([*command, f"--side={side}"], check=True, capture_output=True, text=True).stdout
        )
        for side in SIDES
    }
    share = found["one base"]["above_imports_mb"] / found["four models"]["above_imports_mb"]
    print(json.dumps({**found, "share": round(share, 2), "load": round(os.getloadavg()[0], 2)}))


def _run(side: dict[str, Any], work: Work) -> dict[str, int]:
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification

    from alignment.models.load import load_scorer, load_tokenizer, save_adapter
    from alignment.ppo import stage as ppo
    from alignment.shared.config import LoRAConfig, PPOConfig
    from alignment.shared.events import NullReporter
    from alignment.shared.records import Prompt, write_jsonl
    from alignment.shared.stages import PPOInputs

    folder = Path(tempfile.mkdtemp(prefix="bench-base-"))
    if "lora" in side:
        import peft  # noqa: F401
    imports = resident("VmHWM")
    for name, kind in {"sft": LlamaForCausalLM, "whole": LlamaForSequenceClassification}.items():
        kind(architecture(work)).save_pretrained(folder / name)
        words(work).save_pretrained(folder / name)
    if side["judge"] == "adapter":
        tokenizer = load_tokenizer(folder / "sft")
        model = load_scorer(folder / "sft", tokenizer, trained=True, light=LoRAConfig())
        save_adapter(model, tokenizer, folder / "adapter", str(folder / "sft"))
        del model
    texts = (" ".join(f"t{i}" for i in ids) for ids in work.prompts())
    write_jsonl(folder / "prompts.jsonl", [Prompt.from_text(text) for text in texts])
    config = PPOConfig(
        batch_size=work.batch, micro_batch_size=work.micro, mini_batches=work.minibatches, inner_epochs=work.epochs,
        max_response_length=work.response, updates=2, evaluate_every=2, heldout_fraction=0.01, evaluate_replies=16,
        missing_eos="keep", lora=side.get("lora"), compare_prompts=0,
    )  # fmt: skip
    inputs = PPOInputs(model=folder / "sft", reward_model=folder / side["judge"], prompts=folder / "prompts.jsonl")
    (folder / "out").mkdir()
    ppo.train(config, inputs, folder / "out", NullReporter())
    return {"above_imports_mb": round(resident("VmHWM") - imports), "imports_mb": round(imports)}


if __name__ == "__main__":
    main()
