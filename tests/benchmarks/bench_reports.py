"""The reward model's report on real preferences: what it says, in its own words, of how far it can be trusted.

    python -m tests.benchmarks.bench_reports ../shared/data --out FOLDER

Each file goes through the importer, as a data set would, and a small model learns from it: a base model of its
own (`FOLDER/base`, from the demonstrations in --texts; --base takes another), then the reward stage. Printed are the
counts, the figures, the gate and the report's words; the reports lie in FOLDER. What FOLDER holds is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from alignment.shared import gate, stages
from alignment.shared.config import GateConfig, Stage
from alignment.shared.events import NullReporter
from alignment.shared.records import Record, write_jsonl
from tests.benchmarks.support.shared_files import ENGLISH, LENGTH, base_model, records

FILES = ("pref_style_en", "pref_pandalm_human_en", "pref_tulu_human_en", "pref_hh_harmless_en")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    base = options.base or options.out / "base"
    if not base.exists():
        texts = [record for name in options.texts for record in records(options.data, name, "demonstrations")]
        base_model(texts, options.steps, base)
    for name in options.files:
        print(report(options, base, name), flush=True)
    return 0


def report(options: argparse.Namespace, base: Path, name: str) -> str:
    """Train on one file; its figures and the report's words."""
    folder, began = options.out / name, time.monotonic()
    if not (folder / "reward" / gate.REPORT).exists():
        folder.mkdir(exist_ok=True)
        rankings: list[Record] = list(records(options.data, name, "preferences"))
        write_jsonl(folder / "rankings.jsonl", rankings)
        settings = {"learning_rate": options.rate, "epochs": options.epochs, "max_length": LENGTH}
        settings |= {"batch_size": 16, "micro_batch_size": 8, "heldout_fraction": 0.2, "seed": options.seed}
        inputs = {"model": base, "rankings": folder / "rankings.jsonl"}
        stages.run(Stage.REWARD, settings, inputs, folder / "reward", NullReporter())
    found = json.loads((folder / "reward" / gate.REPORT).read_text())
    accuracy, balanced = found["accuracy"], found["lengths"]["balanced"]["value"]
    figures = (
        f"{name}: accuracy {accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f}), at equal length "
        f"{balanced:.3f}, gate {gate.decide(found['metrics'], GateConfig()).outcome.value}, "
        f"{time.monotonic() - began:.0f} s"
    )
    return "\n".join([figures, *(f"  {word['level']}: {word['text']}" for word in found["words"])])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--files", nargs="+", default=FILES)
    parser.add_argument("--texts", nargs="+", default=ENGLISH, help="files of demonstrations for the base model")
    parser.add_argument("--base", type=Path, help="another base model; it must read 256 tokens")
    parser.add_argument("--steps", type=int, default=2200, help="of the base model")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
