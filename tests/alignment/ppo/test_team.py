"""Several processes take the steps that one takes: the same tokens, advantages, losses and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.alignment import teams

pytestmark = pytest.mark.slow

LORA = {"lora": {"rank": 4}}
SHARES = {"shard_weights": True}
CELLS = [
    pytest.param(kind, trained | held, size, id=f"{kind}, {name}, {how}, {size}")
    for kind in teams.KINDS
    for name, trained in {"full": {}, "LoRA": LORA}.items()
    for how, held in {"copies": {}, "shares": SHARES}.items()
    for size in (1, 2, 4)
]
ALWAYS = ("ppo, full, copies, 4", "ppo, LoRA, shares, 2", "rloo, full, shares, 2")
REASON = "three cells of the table say most of it"


def found(folder: Path, size: int, rank: int) -> teams.Found:
    read: teams.Found = torch.load(folder / f"found-{size}-{rank}.pt", weights_only=False)
    return read


@pytest.mark.parametrize(
    ("kind", "settings", "size"),
    [
        cell if cell.id in ALWAYS else pytest.param(*cell.values, id=cell.id, marks=pytest.mark.deep(reason=REASON))
        for cell in CELLS
    ],
)
def test_the_number_of_processes_changes_no_result(
    kind: str, settings: dict[str, Any], size: int, folders: Path
) -> None:
    teams.run(1, teams.one_update, kind, {k: v for k, v in settings.items() if k != "shard_weights"}, folders)
    alone = found(folders, 1, 0)
    teams.run(size, teams.one_update, kind, settings, folders)
    assert len(alone.gradients) == (4 if kind == "ppo" else 2)
    for rank in range(size):
        other = found(folders, size, rank)
        assert torch.equal(other.tokens, alone.tokens)
        torch.testing.assert_close(other.advantages, alone.advantages, atol=1e-5, rtol=0)
        assert other.metrics == pytest.approx(alone.metrics, abs=1e-5)
        for theirs, ours in zip(other.gradients, alone.gradients, strict=True):
            assert theirs.keys() == ours.keys()
            for name, gradient in ours.items():
                torch.testing.assert_close(theirs[name], gradient, atol=1e-5, rtol=0)
