"""The whole science without services: base, SFT, sample, rank, reward model, PPO, judged by gold.

    python -m tests.benchmarks.bench_stages --seed 0 [--work FOLDER] [--set ppo.kl_coef=0.1 ...]

Prints seconds of every stage (wall and CPU of this process) and the gold score by criterion of every
policy. A folder that holds a stage's result already is not computed again, so that settings of a later
stage can be tried against the same earlier ones.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from alignment.data import chat
from alignment.models.load import load_causal_lm, load_tokenizer
from alignment.rollout.generation import generate
from alignment.shared import stages
from alignment.shared.config import BaseModelConfig, Stage, load_preset
from alignment.shared.events import NullReporter
from alignment.shared.records import Prompt, Ranking, write_jsonl
from alignment.toyworld.base_model import train_base_model
from alignment.toyworld.people import annotators
from alignment.toyworld.world import World, build_world, write_world
from annotation_api.demo.judge import grade_replies, win_rate

K, TASKS_PER_PROMPT = 4, 2  # as in the demo: about 1,440 rankings
REPLIES = 3  # to each held-out prompt: 360 a criterion


def main() -> None:
    options = _options()
    bench, world = until_reward(
        Path(options.work or tempfile.mkdtemp()), options.seed, dict(item.split("=", 1) for item in options.set)
    )
    bench.run(Stage.PPO, bench.policy_inputs)
    bench.judge(world, ["base", "sft", "ppo"])
    print(json.dumps(bench.report, indent=1, default=str))


def until_reward(work: Path, seed: int, overrides: dict[str, str] | None = None) -> tuple[Bench, World]:
    """The stages that come before PPO."""
    world = build_world(seed)
    files = write_world(world, work / "world")
    bench = Bench(work, seed, overrides or {})
    bench.stage(
        "base", lambda out: train_base_model(world.corpus(), BaseModelConfig(seed=seed), out, NullReporter()).metrics
    )
    bench.run(Stage.SFT, {"model": work / "base", "demonstrations": files["demonstrations"]})
    asked = {"models": {"sft": work / "sft"}, "prompts": files["prompts"]}
    bench.run(Stage.SAMPLE, asked, {"tasks_per_prompt": TASKS_PER_PROMPT})
    write_jsonl(bench.rankings, rank(world, work / "sample" / "responses.jsonl", seed))
    bench.run(Stage.REWARD, {"model": work / "sft", "rankings": bench.rankings})
    return bench, world


class Bench:
    """Runs stages into folders of `work`, timing each."""

    def __init__(self, work: Path, seed: int, overrides: dict[str, str]) -> None:
        self.work, self.seed, self.overrides = work, seed, overrides
        self.report: dict[str, Any] = {"seed": seed, "stages": {}}
        self.rankings = work / "rankings.jsonl"
        self.policy_inputs = {
            "model": work / "sft",
            "reward_model": work / "reward",
            "prompts": work / "world" / "prompts.jsonl",
        }

    def run(self, stage: Stage, inputs: dict[str, Any], changes: dict[str, Any] | None = None) -> None:
        """One stage with the toy preset, our seed, `changes` and what `--set` names."""
        chosen = {
            key.split(".", 1)[1]: json.loads(value)
            for key, value in self.overrides.items()
            if key.startswith(stage.value + ".")
        }
        config = load_preset("toy", stage, {"seed": self.seed, **(changes or {}), **chosen}).model_dump()
        self.stage(stage.value, lambda out: stages.run(stage, config, inputs, out, NullReporter()))

    def stage(self, name: str, work: Callable[[Path], Any]) -> None:
        """Compute one folder unless it is there; remember metrics, wall and CPU seconds."""
        out = self.work / name
        done = out / "bench.json"
        if not done.exists():
            wall, cpu = time.perf_counter(), time.process_time()
            result = work(out)
            seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
            metrics = getattr(result, "metrics", result)
            done.write_text(json.dumps({**seconds, **metrics}))
            details = getattr(result, "details", {})
            (out / "details.json").write_text(json.dumps(details, ensure_ascii=False, indent=1))
        self.report["stages"][name] = json.loads(done.read_text())

    def judge(self, world: World, names: Sequence[str]) -> None:
        """Gold of each policy on the held-out prompts, and how often the last beats the one before it."""
        rows = [row for name in names for row in answer(self.work / name, name, world.heldout, self.seed)]
        for name in names:
            mine = ((world.heldout[row["prompt"]], row["text"]) for row in rows if row["model"] == name)
            self.report.setdefault("gold", {})[name] = world.gold_by_criterion(mine)
        replies = grade_replies(world, world.heldout, rows, {name: name for name in names})
        wins = win_rate(replies, names[-1], names[-2])
        self.report["win_rate"] = {"value": wins.rate, "ci95": [wins.low, wins.high], "n": wins.n}


def rank(world: World, responses: Path, seed: int) -> list[Ranking]:
    """A prompt's different responses in tasks of K; each task ranked by one annotator, in the order shown to them."""
    by_prompt: dict[int, list[str]] = {}
    for line in responses.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        by_prompt.setdefault(row["prompt"], []).append(row["text"])
    tasks = [(n, texts[i : i + K]) for n, texts in by_prompt.items() for i in range(0, len(texts), K)]
    rng, people = random.Random(seed), annotators(world)
    rankings = []
    for number, texts in tasks:
        if len(texts) < 2:
            continue
        prompt, person, shown = world.train[number], rng.choice(people), tuple(rng.sample(texts, len(texts)))
        groups = person.rank(prompt, shown)
        rankings.append(Ranking(prompt=prompt, responses=shown, groups=groups, annotator=person.email))
    return rankings


def answer(
    folder: Path, name: str, prompts: Sequence[Prompt], seed: int, replies: int = REPLIES
) -> list[dict[str, Any]]:
    """`replies` sampled replies to every prompt, as rows of a sample job's responses.jsonl."""
    tokenizer = load_tokenizer(folder)
    model = load_causal_lm(folder, tokenizer, trained=False)
    asked = [number for number in range(len(prompts)) for _ in range(replies)]
    generated = generate(
        model,
        tokenizer,
        [chat.prompt_ids(tokenizer, prompts[number]) for number in asked],
        max_new_tokens=40,
        generator=torch.Generator(model.device).manual_seed(seed),
    )
    texts = [chat.decode(tokenizer, generated.ids(row)) for row in range(len(asked))]
    return [{"prompt": number, "model": name, "text": text} for number, text in zip(asked, texts, strict=True)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", help="folder to work in; a new one when unset")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="a setting as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
