"""One update of 1, 2 and 4 processes beside that of one that trains alone: the largest differences, cell by cell.

    python -m tests.support.alignment.equality

{PPO, RLOO} x {full, LoRA} x {copies, shares} x {1, 2, 4}, in float32, on a model of a few thousand weights; the limit
is 1e-5, and tokens are equal (tests/alignment/ppo/test_team.py holds every cell to that).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from tests.support.alignment import small_ppo, teams

TRAINED: dict[str, dict[str, Any]] = {"full": {}, "LoRA": {"lora": {"rank": 4}}}
HELD: dict[str, dict[str, Any]] = {"copies": {}, "shares": {"shard_weights": True}}
SIZES = (1, 2, 4)


def main() -> None:
    """A row a cell, flushed as it ends; exits 1 where one is beyond the limit."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    with tempfile.TemporaryDirectory(prefix="equality-") as scratch:
        folder = small_ppo.write(Path(scratch))
        rows = [row for cell in itertools.product(teams.KINDS, TRAINED, HELD) for row in rows_of(folder, *cell)]
    worst = max(max(row["losses"], row["advantages"], row["gradients"]) for row in rows)
    equal = all(row["tokens_equal"] for row in rows)
    print(json.dumps({"worst": worst, "tokens_equal": equal, "load": round(os.getloadavg()[0], 2)}))
    sys.exit(worst > 1e-5 or not equal)


def rows_of(folder: Path, kind: str, trained: str, held: str) -> list[dict[str, Any]]:
    """Beside one process that holds the whole."""
    alone = found(folder, kind, TRAINED[trained], 1)[0]
    rows = []
    for size in SIZES:
        each = found(folder, kind, TRAINED[trained] | HELD[held], size)
        row = {"method": kind, "trained": trained, "held": held, "processes": size} | largest(each, alone)
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def found(folder: Path, kind: str, settings: dict[str, Any], size: int) -> list[teams.Found]:
    """What each of `size` processes found."""
    teams.run(size, teams.one_update, kind, settings, folder)
    return [torch.load(folder / f"found-{size}-{rank}.pt", weights_only=False) for rank in range(size)]


def largest(each: list[teams.Found], alone: teams.Found) -> dict[str, Any]:
    """The largest difference of any process from the one that is alone."""
    return {
        "losses": max(abs(one.metrics[name] - value) for one in each for name, value in alone.metrics.items()),
        "advantages": max(float((one.advantages - alone.advantages).abs().max()) for one in each),
        "gradients": max(
            float((theirs[name] - gradient).abs().max())
            for one in each
            for theirs, ours in zip(one.gradients, alone.gradients, strict=True)
            for name, gradient in ours.items()
        ),
        "largest_gradient": max(float(gradient.abs().max()) for part in alone.gradients for gradient in part.values()),
        "tokens_equal": all(torch.equal(one.tokens, alone.tokens) for one in each),
    }


if __name__ == "__main__":
    main()
