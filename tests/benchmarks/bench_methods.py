"""What each method of training costs and gives: SFT on the toy base, judged by gold.

    python -m tests.benchmarks.bench_methods [--work FOLDER] [--seed 0]

Prints the table of docs/training.md: trained parameters, peak memory above the imports, seconds, held-out gold score.
Each method runs in a process of its own. Biases are not in it: the toy base is a Llama, which has none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

from tests.benchmarks.peers.ppo import resident

METHODS: dict[str, dict[str, Any]] = {  # the base has a million parameters: rates are larger than those of large models
    "full": {"learning_rate": 5e-4},
    "lora": {"lora": {"rank": 16}, "learning_rate": 5e-3},
    "lora, rank-stabilised": {"lora": {"rank": 16, "rank_stabilised": True}, "learning_rate": 2e-3},
    "lora, dora": {"lora": {"rank": 16, "dora": True}, "learning_rate": 5e-3},
    "ia3": {"method": "ia3", "learning_rate": 3e-2},
    "houlsby": {"method": "houlsby", "learning_rate": 3e-3},
    "layers, the last 2 of 4": {"method": "layers", "learning_rate": 5e-4},
    "prefix": {"method": "prefix", "learning_rate": 1e-2},
    "prompt": {"method": "prompt", "learning_rate": 3e-2},
    "p_tuning": {"method": "p_tuning", "learning_rate": 5e-3},
}


def main() -> None:
    options = _options()
    work = Path(options.work or tempfile.mkdtemp(prefix="bench-methods-"))
    if options.method:
        print(json.dumps(_run(options.method, work, options.seed)))
        return
    _prepare(work, options.seed)
    lines = ["| method | trained | memory, MB | seconds | gold |", "|---|---|---|---|---|"]
    lines.append(f"| none: the base | | | | {_gold(work / 'base', options.seed):.3f} |")
    for name in METHODS:
        same = [sys.executable, "-m", "tests.benchmarks.bench_methods", "--method", name]
        command = [*same, "--work", str(work), "--seed", str(options.seed)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        found = json.loads(said)
        numbers = f"{found['trained']:,} | {found['memory_mb']} | {found['seconds']:.0f}"
        lines.append(f"| {name} | {numbers} | {found['gold']:.3f} |")
    print("\n".join(lines), f"\nload {os.getloadavg()[0]:.1f}")


def _prepare(work: Path, seed: int) -> None:
    """The world and its base, once."""
    from alignment.shared.config import BaseModelConfig
    from alignment.shared.events import NullReporter
    from alignment.toyworld.base_model import train_base_model
    from alignment.toyworld.world import build_world, write_world

    if (work / "base" / "config.json").exists():
        return
    world = build_world(seed)
    write_world(world, work / "world")
    (work / "base").mkdir(parents=True, exist_ok=True)
    train_base_model(world.corpus(), BaseModelConfig(seed=seed), work / "base", NullReporter())


def _run(name: str, work: Path, seed: int) -> dict[str, Any]:
    import peft  # noqa: F401  what the stage imports is no part of the measure

    import alignment.sft  # noqa: F401
    from alignment.models.load import load_causal_lm, load_tokenizer
    from alignment.shared import stages
    from alignment.shared.config import SFTConfig, Stage, load_preset
    from alignment.shared.events import NullReporter

    config = load_preset("toy", Stage.SFT, {"seed": seed, **METHODS[name]})
    assert isinstance(config, SFTConfig)
    tokenizer = load_tokenizer(work / "base")
    model: Any = load_causal_lm(work / "base", tokenizer, trained=True, light=config.light)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    del model
    imports, began = resident("VmHWM"), time.perf_counter()
    inputs = {"model": work / "base", "demonstrations": work / "world" / "demonstrations.jsonl"}
    out = work / name.replace(" ", "-")
    stages.run(Stage.SFT, config.model_dump(), inputs, out, NullReporter())
    taken, peak = time.perf_counter() - began, resident("VmHWM")
    return {"trained": trained, "memory_mb": round(peak - imports), "seconds": taken, "gold": _gold(out, seed)}


def _gold(folder: Path, seed: int) -> float:
    """Mean over the criteria of the held-out prompts' gold."""
    from alignment.toyworld.world import build_world
    from tests.benchmarks.bench_stages import answer

    world = build_world(seed)
    rows = answer(folder, "it", world.heldout, seed)
    return mean(world.gold_by_criterion((world.heldout[row["prompt"]], row["text"]) for row in rows).values())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", help="where the base and every model lie")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", choices=METHODS, help="one alone, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
