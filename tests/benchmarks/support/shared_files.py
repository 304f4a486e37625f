"""Real files for benchmarks: read by the importer, cut to what a small model reads, with a small base model.

    python -m tests.benchmarks.support.shared_files ../shared/data --out FOLDER

leaves what bench_accuracy compares on: `FOLDER/base`, pretrained on English and Chinese demonstrations,
`FOLDER/alpaca.jsonl` (`rank_alpaca_eval_en`: 180 prompts, their responses by the annotator's preference over one
reference) and `FOLDER/oasst.jsonl` (`rank_oasst_zh`: all rankings). Texts are cut in characters, so that prompt and
response fit into 256 tokens; responses that are equal once cut are one, and the first one's place counts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alignment.shared.config import BaseModelConfig
from alignment.shared.events import NullReporter
from alignment.shared.records import Demonstration, Prompt, Ranking, write_jsonl
from alignment.toyworld.base_model import train_base_model
from annotation_api.datasets.formats.reading import Reading

LENGTH = 256  # tokens that the small model reads
ENGLISH, CHINESE = ("sft_alpaca_en", "sft_dolly_en"), ("sft_alpaca_gpt4_zh", "sft_belle_zh")
ENGLISH_CUT, CHINESE_CUT = 250, 100  # characters of a response: the tokenizer makes one token of a Chinese character
TIE = 1.5  # rank_alpaca_eval_en: 1 = the reference is better, 2 = the other


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, rankings in {"alpaca": alpaca(options.data), "oasst": oasst(options.data)}.items():
        write_jsonl(options.out / f"{name}.jsonl", rankings)
        pairs = sum(len(ranking.pairs()) for ranking in rankings)
        print(f"{name}: {len(rankings)} rankings, {pairs} comparisons", flush=True)
    english = [_cut(demo, ENGLISH_CUT) for demo in _demonstrations(options.data, ENGLISH)]
    chinese = [_cut(demo, CHINESE_CUT) for demo in _demonstrations(options.data, CHINESE)]
    base_model(english + 2 * chinese, options.steps, options.out / "base")


def records(data: Path, name: str, kind: str) -> Iterator[Any]:
    """What the importer takes of a file; what it refuses is counted on the terminal."""
    with (data / f"{name}.jsonl.gz").open("rb") as file:
        reading = Reading(file, kind)
        yield from (item.record for item in reading)
    print(f"{name}: {len(reading.refusals)} refused, {reading.duplicates} repeated", flush=True)


def base_model(texts: Sequence[Demonstration], steps: int, out: Path) -> None:
    """Pretrain a model of 1.4 million parameters, unless it is there."""
    if out.exists():
        return
    began = time.monotonic()
    config = BaseModelConfig(vocab_size=4096, steps=steps, batch_size=32, max_length=LENGTH)
    found = train_base_model(texts, config, out, NullReporter())
    print(f"base: {found.metrics['loss']:.2f} nats a token, {time.monotonic() - began:.0f} s", flush=True)


def alpaca(data: Path, prompts: int = 180) -> list[Ranking]:
    """All responses of a prompt in one ranking: the file compares each with the same reference."""
    graded: dict[str, dict[str, float]] = {}
    for row in _rows(data, "rank_alpaca_eval_en"):
        grades = graded.setdefault(row["instruction"], {})
        grades.setdefault(row["output_1"][:ENGLISH_CUT], TIE)
        grades.setdefault(row["output_2"][:ENGLISH_CUT], row["preference"])
    made = []
    for prompt, grades in graded.items():
        grades = {text: round(grade, 3) for text, grade in grades.items() if text.strip()}
        if len(prompt) <= 200 and len(grades) >= 2:
            levels = sorted(set(grades.values()), reverse=True)
            groups = tuple(tuple(i for i, g in enumerate(grades.values()) if g == level) for level in levels)
            made.append(Ranking(prompt=Prompt.from_text(prompt), responses=tuple(grades), groups=groups))
    random.Random(0).shuffle(made)
    return made[:prompts]


def oasst(data: Path) -> list[Ranking]:
    """Best first, as the file has them; of a long prompt its end."""
    made = []
    for row in _rows(data, "rank_oasst_zh"):
        texts = tuple(dict.fromkeys(text[:CHINESE_CUT] for text in row["output"] if text.strip()))
        if len(texts) >= 2 and row["instruction"].strip():
            groups = tuple((place,) for place in range(len(texts)))
            prompt = Prompt.from_text(row["instruction"][-CHINESE_CUT:])
            made.append(Ranking(prompt=prompt, responses=texts, groups=groups))
    return made


def _demonstrations(data: Path, names: Sequence[str]) -> list[Demonstration]:
    return [record for name in names for record in records(data, name, "demonstrations")]


def _cut(demo: Demonstration, characters: int) -> Demonstration:
    return Demonstration(prompt=Prompt.from_text(demo.prompt.text[-characters:]), response=demo.response[:characters])


def _rows(data: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(data / f"{name}.jsonl.gz", "rt") as file:
        yield from map(json.loads, file)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=220, help="of the base model")
    return parser.parse_args()


if __name__ == "__main__":
    main()
