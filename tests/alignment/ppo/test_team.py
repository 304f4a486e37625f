"""Several processes take the steps that one takes: the same tokens, advantages, losses and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from alignment.ppo.roles import ActorCritic, load_roles, record, reply
from alignment.rollout.streams import draws_of
from alignment.shared.config import PPOConfig
from alignment.shared.stages import PPOInputs
from alignment.training.team import together
from tests.support.alignment import small_ppo, teams
from tests.support.alignment.small_ppo import inputs_of

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


def where_they_lie(rank: int, folder: Path) -> None:
    """Leave, of each role, where its share of every matrix of the base lies, before and after a rollout."""
    config = PPOConfig.model_validate(teams.STEP | LORA | SHARES)
    with together() as team:
        roles = load_roles(config, PPOInputs.model_validate(inputs_of(folder)), team)
        places = [bases_of(roles)]
        record(roles, reply(roles, teams.PROMPTS, config, torch.Generator(), draws_of(0, 1)).sequences, config)
    torch.save([*places, bases_of(roles)], folder / f"places-{rank}.pt")


def bases_of(roles: ActorCritic) -> list[set[int]]:
    models: list[Any] = [roles.policy, roles.critic, roles.reward_model]
    return [
        {w.to_local().data_ptr() for name, w in model.named_parameters() if name.endswith("base_layer.weight")}
        for model in models
    ]


def test_with_adapters_each_process_has_its_shares_of_one_base(folders: Path) -> None:
    """And they find what one process finds that has the base whole."""
    small_ppo.judge_on_base(folders)
    teams.run(2, where_they_lie, folders)
    for rank in range(2):
        for policy, critic, judge in torch.load(folders / f"places-{rank}.pt", weights_only=False):
            assert policy == critic == judge
            assert len(policy) > 1
    assert_equal(folders, "ppo", LORA | SHARES, 2)


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
    assert_equal(folders, kind, settings, size)


def assert_equal(folders: Path, kind: str, settings: dict[str, Any], size: int) -> None:
    """An update of `size` processes is that of one that trains alone and has everything whole."""
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
