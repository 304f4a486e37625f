"""Learning curves on the toy world: our PPO and TRL 1.12's PPOTrainer, from the same models, with the same budget.

    python -m tests.benchmarks.bench_learning --work FOLDER --seeds 0 1 2 3 4 [--peer-python VENV/bin/python]

A seed makes a world, a base model, an SFT model and a reward model; both trainers start from these and take the same
number of episodes, passes and updates at the same rate, KL coefficient and lengths (the toy preset). What a trainer
does beyond that is its own: ours clips gradients and keeps the policy that its rule chooses, TRL keeps the last one.
Gold is the mean grade of three replies to each of 360 prompts that no stage has seen. Of each look: both means over
the seeds, and the difference with Student's interval over seeds; at the end the policies that each would hand over.
`FOLDER/learning.svg` draws the curves. What FOLDER holds is not computed again. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from matplotlib.axes import Axes

from alignment import plots
from alignment.data import chat
from alignment.models.load import load_config, load_tokenizer
from alignment.ppo.prompt_set import split_of
from alignment.shared.config import PPOConfig, Stage, load_preset
from alignment.shared.records import Prompt, read_jsonl
from alignment.toyworld.world import World
from tests.benchmarks.bench_ppo import peer_environment
from tests.benchmarks.bench_stages import Bench, until_reward
from tests.benchmarks.support.curves import gold_by_update, gold_of, looks_kept, over_seeds

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Curves:
    """One seed's gold by update, and that of the policies that are handed over."""

    ours: dict[int, float]
    trl: dict[int, float]
    kept: float

    @property
    def last(self) -> float:
        return self.trl[max(self.trl)]


def main() -> None:
    options = _options()
    peer = options.peer_python or peer_environment(Path(tempfile.mkdtemp()))
    found = []
    for seed in options.seeds:
        bench, world = until_reward(options.work / str(seed), seed)
        found.append(curves(bench, world, peer))
        print(
            json.dumps({"seed": seed, "ours": found[-1].ours, "kept": found[-1].kept, "trl": found[-1].trl}), flush=True
        )
    for line in table(found):
        print(json.dumps(line), flush=True)
    label = "Gold score by update, ours and TRL's"
    (options.work / "learning.svg").write_text(plots.svg(lambda axes: draw(axes, found), label))


def curves(bench: Bench, world: World, peer: Path) -> Curves:
    """Train both, then judge each look."""
    ours, theirs = bench.work / "looks", bench.work / "trl"
    with looks_kept(ours):
        bench.run(Stage.PPO, bench.policy_inputs)
    if not theirs.exists():
        train_peer(bench, theirs, peer)
    mine = gold_by_update(ours, world, bench.seed)
    return Curves(
        mine, {0: mine[0]} | gold_by_update(theirs, world, bench.seed), gold_of(bench.work / "ppo", world, bench.seed)
    )


def train_peer(bench: Bench, out: Path, peer: Path) -> None:
    """TRL's side, with the settings of ours that both know."""
    config = load_preset("toy", Stage.PPO, {"seed": bench.seed})
    assert isinstance(config, PPOConfig)
    staging = Path(tempfile.mkdtemp(dir=bench.work))
    asked = {
        "sft": str(bench.policy_inputs["model"]),
        "reward": str(bench.policy_inputs["reward_model"]),
        "mean": load_config(bench.policy_inputs["reward_model"], dropout=False).score_mean,
        "prompts": str(_train_prompts(bench, config, staging)),
        "out": str(staging),
        "every": config.evaluate_every,
        "settings": shared_settings(config),
    }
    with (staging / "log.jsonl").open("w") as log:
        subprocess.run([str(peer), str(HERE / "peers" / "learning.py"), json.dumps(asked)], check=True, stdout=log)
    staging.rename(out)


def shared_settings(config: PPOConfig) -> dict[str, Any]:
    """Ours by TRL's names."""
    return {
        "seed": config.seed,
        "per_device_train_batch_size": config.batch_size,
        "local_rollout_forward_batch_size": config.batch_size,
        "total_episodes": config.batch_size * config.updates,
        "num_ppo_epochs": config.inner_epochs,
        "response_length": config.max_response_length,
        "temperature": config.temperature,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": round(config.warmup_ratio * config.updates),
        "adam_epsilon": config.adam_epsilon,
        "kl_coef": config.kl_coef,
        "gamma": config.gamma,
        "lam": config.gae_lambda,
        "cliprange": config.clip_range,
        "cliprange_value": config.value_clip_range,
        "vf_coef": config.vf_coef,
        "missing_eos_penalty": config.missing_eos_penalty,
    }


def _train_prompts(bench: Bench, config: PPOConfig, folder: Path) -> Path:
    """The prompts that ours trains on, as token ids."""
    tokenizer = load_tokenizer(bench.policy_inputs["model"])
    prompts = read_jsonl(bench.policy_inputs["prompts"], Prompt)
    train = [prompt for prompt in prompts if split_of(prompt, config.heldout_fraction) == "train"]
    path = folder / "prompts.json"
    path.write_text(json.dumps([chat.prompt_ids(tokenizer, prompt) for prompt in train]))
    return path


def table(found: Sequence[Curves]) -> list[dict[str, Any]]:
    """One row a look, one for the policies that are handed over, one for the whole curve."""
    rows = [
        _row(f"update {update}", [c.ours[update] for c in found], [c.trl[update] for c in found])
        for update in found[0].trl
    ]
    rows.append(_row("handed over", [c.kept for c in found], [c.last for c in found]))
    means = [
        [sum(curve.values()) / len(curve) for curve in side]
        for side in ([c.ours for c in found], [c.trl for c in found])
    ]
    return [*rows, _row("mean of the curve", *means)]


def _row(name: str, ours: Sequence[float], trl: Sequence[float]) -> dict[str, Any]:
    gap = over_seeds([a - b for a, b in zip(ours, trl, strict=True)])
    sides = {"ours": over_seeds(ours).value, "trl": over_seeds(trl).value, "gap": gap.value}
    return {"at": name} | {k: round(v, 3) for k, v in sides.items()} | {"ci95": [round(gap.low, 3), round(gap.high, 3)]}


def draw(axes: Axes, found: Sequence[Curves]) -> None:
    """A thin line a seed, a thick one for the mean."""
    sides = (("ours", plots.MAIN, [c.ours for c in found]), ("TRL 1.12", plots.WARN, [c.trl for c in found]))
    for name, colour, seeds in sides:
        for curve in seeds:
            axes.plot(list(curve), list(curve.values()), color=colour, linewidth=0.5, alpha=0.5)
        mean = {update: sum(curve[update] for curve in seeds) / len(seeds) for update in seeds[0]}
        axes.plot(list(mean), list(mean.values()), color=colour, linewidth=2, label=name)
    axes.set_xlabel("update")
    axes.set_ylabel("gold score")
    axes.legend(frameon=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder to work in; gets a folder a seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--peer-python", type=Path, help="of an environment with TRL 1.12.0; unset: one is made")
    return parser.parse_args()


if __name__ == "__main__":
    main()
