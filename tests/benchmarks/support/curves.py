"""What benchmarks that watch a policy learn share: the policy of each look, its gold score, seeds compared."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alignment.models.load import save_model
from alignment.ppo import loop as ppo_loop
from alignment.reward.report.accuracy import IntervalEstimate
from alignment.toyworld.world import World
from tests.benchmarks.bench_stages import REPLIES, answer

T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}  # by seeds


@contextmanager
def looks_kept(folder: Path) -> Iterator[None]:
    """Inside it, PPO leaves the policy of each look in `folder`/UPDATE."""
    look = ppo_loop.look

    def seen(roles: Any, prompts: Any, update: int, config: Any) -> Any:
        save_model(roles.policy, roles.tokenizer, folder / str(update))
        return look(roles, prompts, update, config)

    ppo_loop.look = seen  # type: ignore[assignment]
    try:
        yield
    finally:
        ppo_loop.look = look


def gold_of(folder: Path, world: World, seed: int, replies: int = REPLIES) -> float:
    """Mean gold score of a policy's replies, so many to each prompt that no stage has seen; asked once a folder."""
    known = folder / f"gold-{replies}.json"
    if not known.exists():
        rows = answer(folder, folder.name, world.heldout, seed, replies)
        found = world.gold_by_criterion((world.heldout[row["prompt"]], row["text"]) for row in rows)
        known.write_text(json.dumps(found))
    return float(json.loads(known.read_text())["mean"])


def gold_by_update(folder: Path, world: World, seed: int, replies: int = REPLIES) -> dict[int, float]:
    """Of each policy in `folder`/UPDATE."""
    updates = sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())
    return {update: gold_of(folder / str(update), world, seed, replies) for update in updates}


def over_seeds(values: Sequence[float]) -> IntervalEstimate:
    """Mean over seeds, with Student's interval."""
    mean = statistics.mean(values)
    half = T95[len(values)] * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return IntervalEstimate(mean, mean - half, mean + half, len(values))
