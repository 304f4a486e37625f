"""Reward-model training and scoring against TRL's RewardTrainer on the same rankings, in one run.

    python -m tests.benchmarks.bench_reward --k 4 9 --rounds 5

Both sides build their trainer and train one epoch on the same random tokens from the same weights, in turn;
the ratio is that of each round, the table gives its median and range. TRL gets every pair of a ranking, 8 pairs in
a batch, as its own example script does; ours gets the rankings, as many tokens in a batch. `--memory` runs each
side in a process of its own and reads its peak. Nothing is asserted: other load on the machine moves times.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast
from trl.trainer.reward_config import RewardConfig as TRLRewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from alignment.models.forward import end_scores, score_rows
from alignment.reward.examples import Example, PairTarget, Vote
from alignment.reward.trainer import fit
from alignment.shared.config import RewardConfig
from alignment.shared.events import NullReporter
from tests.benchmarks.peers.ppo import resident

PAIRS = 8  # TRL's pairs in a batch


def main() -> None:
    """Print one JSON line a K, and one for scoring."""
    options = _options()
    if options.side:
        peak = _peak(options)
        print(json.dumps({"side": options.side, "peak_mb": round(peak, 1)}))
        return
    for k in options.k:
        print(json.dumps(_speed(options, k) | {"load": os.getloadavg()[0]}), flush=True)
        if options.memory:
            print(json.dumps({"k": k, "peak_mb": _memory(k)}), flush=True)
    print(json.dumps(_scoring(options)), flush=True)


def rankings(k: int, prompts: int, longest_prompt: int, longest_response: int, vocab: int) -> list[Example]:
    """Random tokens of lengths from a quarter of the longest to the longest; the first response is the best."""
    generator = torch.Generator().manual_seed(1)

    def tokens(longest: int) -> list[int]:
        n = int(torch.randint(longest // 4, longest + 1, (1,), generator=generator))
        return torch.randint(4, vocab, (n,), generator=generator).tolist()

    pairs = list(itertools.combinations(range(k), 2))
    made = tuple(PairTarget(i, j, 1.0, 0.0, 1 / len(pairs)) for i, j in pairs)
    votes = (Vote(tuple(range(k)), 1.0),)
    return [
        Example(tokens(longest_prompt), [tokens(longest_response) for _ in range(k)], made, votes, (), 1.0, (row,))
        for row in range(prompts)
    ]


def train_trl(examples: list[Example], options: argparse.Namespace) -> None:
    """Every pair of every ranking, one epoch."""
    rows = [
        {"chosen_ids": e.sequences[c.better], "rejected_ids": e.sequences[c.worse]}
        for e in examples
        for c in e.comparisons
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TRLRewardConfig(
            output_dir=folder,
            per_device_train_batch_size=PAIRS,
            num_train_epochs=1,
            report_to=[],
            save_strategy="no",
            bf16=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(),
            gradient_checkpointing=False,
            disable_tqdm=True,
            logging_steps=1000,
        )
        RewardTrainer(
            model=_model(options), args=arguments, train_dataset=Dataset.from_list(rows), processing_class=_tokenizer()
        ).train()


def train_ours(examples: list[Example], options: argparse.Namespace) -> None:
    """The same rankings, one epoch, about as many tokens in a batch as TRL's padded pairs."""
    k = len(examples[0].responses)
    width = options.prompt + options.response
    size = max(1, 2 * PAIRS * width // (options.prompt + k * options.response))
    config = RewardConfig(batch_size=size, micro_batch_size=size, share_prompt=not options.alone)
    fit(_model(options), _tokenizer(), examples, config, NullReporter())


def _speed(options: argparse.Namespace, k: int) -> dict[str, Any]:
    examples = rankings(k, options.prompts, options.prompt, options.response, options.vocab)
    train_ours(examples[:2], options)
    train_trl(examples[:2], options)
    rounds = [
        (_seconds(lambda: train_trl(examples, options)), _seconds(lambda: train_ours(examples, options)))
        for _ in range(options.rounds)
    ]
    report: dict[str, Any] = {"k": k, "rankings": len(examples)}
    for clock in ("wall", "cpu"):
        ratios = sorted(theirs[clock] / ours[clock] for theirs, ours in rounds)
        report[clock] = {
            "trl_s": round(statistics.median(theirs[clock] for theirs, _ in rounds), 2),
            "ours_s": round(statistics.median(ours[clock] for _, ours in rounds), 2),
            "ratio": round(statistics.median(ratios), 2),
            "range": [round(ratios[0], 2), round(ratios[-1], 2)],
        }
    return report


def _scoring(options: argparse.Namespace) -> dict[str, Any]:
    """512 sequences of mixed length: `score_rows` against batches of 32 in the order in which they come."""
    generator = torch.Generator().manual_seed(2)
    lengths = torch.exp(torch.randn(512, generator=generator) * 0.7 + 4.0).long().clamp(8, 512)
    rows = [torch.randint(4, options.vocab, (n,), generator=generator).tolist() for n in lengths.tolist()]
    model, pad = _model(options).eval().requires_grad_(False), 1

    def plain() -> None:
        for start in range(0, len(rows), 32):
            part = rows[start : start + 32]
            longest = max(map(len, part))
            ids = torch.tensor([row + [pad] * (longest - len(row)) for row in part], device=model.device)
            end_scores(model, ids, torch.tensor([len(row) for row in part], device=model.device))

    rounds = [(_seconds(plain), _seconds(lambda: score_rows(model, rows, pad, 32))) for _ in range(options.rounds)]
    report: dict[str, Any] = {"scored": len(rows)}
    for clock in ("wall", "cpu"):
        ratios = sorted(theirs[clock] / ours[clock] for theirs, ours in rounds)
        report[clock] = {
            "ratio": round(statistics.median(ratios), 2),
            "range": [round(r, 2) for r in ratios[:: len(ratios) - 1 or 1]],
        }
    return report


def _memory(k: int) -> dict[str, float]:
    found = {}
    for side in ("trl", "ours"):
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.bench_reward",
            "--side",
            side,
            "--k",
            str(k),
            "--prompts",
            "16",
        ]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[side] = json.loads(out.strip().splitlines()[-1])["peak_mb"]
    return found


def _peak(options: argparse.Namespace) -> float:
    """MB that training adds to what the imports took (Linux: of the resident set)."""
    examples = rankings(options.k[0], options.prompts, options.prompt, options.response, options.vocab)
    before = resident("VmRSS")
    (train_trl if options.side == "trl" else train_ours)(examples, options)
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resident("VmHWM") - before


def _seconds(work: Callable[[], None]) -> dict[str, float]:
    """Of the wall and of this process's CPU: the second is not moved by what else the machine does."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def _model(options: argparse.Namespace) -> LlamaForSequenceClassification:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=options.vocab,
        hidden_size=options.hidden,
        intermediate_size=options.hidden * 4,
        num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // options.head,
        num_key_value_heads=options.hidden // options.head,
        max_position_embeddings=1024,
        pad_token_id=1,
        eos_token_id=2,
        bos_token_id=3,
        num_labels=1,
    )
    model = LlamaForSequenceClassification(config)
    return model.cuda() if torch.cuda.is_available() else model


def _tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(64)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="t1", eos_token="t2", unk_token="t0")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=Path(__file__).stem)
    sizes = {"layers": 4, "hidden": 256, "head": 32, "vocab": 8192, "prompts": 32, "prompt": 64, "response": 64}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--k", type=int, nargs="+", default=[4, 9])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="also measure the peak of each side")
    parser.add_argument("--alone", action="store_true", help="ours without shared prompts")
    parser.add_argument("--side", choices=["trl", "ours"], help="train one side once and print its peak")
    return parser.parse_args()


if __name__ == "__main__":
    main()
