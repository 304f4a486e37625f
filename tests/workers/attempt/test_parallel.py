"""Several GPUs: who may have them, where they fit, and which part each process gets."""

from __future__ import annotations

from typing import Any

import pytest

from alignment.shared.config import PPOConfig, SFTConfig, Stage, TrainingConfig
from alignment.shared.errors import BadInput
from alignment.shared.gpus import refuse_impossible
from alignment.shared.memory import ModelShape, OnDevice, instead
from workers.executors.actors import ActorPlace
from workers.executors.machines import Machine, Machines
from workers.executors.placement import processes
from workers.executors.ray import ranks_of

BATCHES = {"batch_size": 8, "micro_batch_size": 2}


@pytest.mark.parametrize("gpus", [0.0, 0.25, 1.0, 2.0, 4.0])
def test_what_can_be_shared_is_let_through(gpus: float) -> None:
    refuse_impossible(Stage.SFT, BATCHES, gpus)
    refuse_impossible(Stage.REWARD, BATCHES, gpus)
    refuse_impossible(Stage.PPO, BATCHES | {"mini_batches": 2}, gpus)
    refuse_impossible(Stage.SAMPLE, {}, gpus)


@pytest.mark.parametrize(
    ("stage", "config", "gpus", "words"),
    [
        (
            Stage.PPO,
            BATCHES | {"mini_batches": 4},
            3.0,
            r"gpus is 3, and batch_size \(8\) in 4 mini_batches has 2 rows for them in a step. Ask for 2 or fewer",
        ),
        (Stage.SFT, BATCHES, float("nan"), "gpus is nan, which is no number of GPUs. Ask for 0, a share of one, or"),
        (Stage.PPO, BATCHES, float("inf"), "gpus is inf, which is no number of GPUs."),
        (Stage.SAMPLE, {}, -1.0, "gpus is -1, which is no number of GPUs."),
        (
            Stage.SFT,
            BATCHES,
            1e-5,
            "gpus is 1e-05, and no share of a GPU is smaller than 0.0001. Ask for 0, or for more",
        ),
        (Stage.SAMPLE, {}, 2.5, "gpus is 2.5: a run has whole GPUs, or a share of one."),
        (Stage.SFT, BATCHES, 1.5, "gpus is 1.5: a run has whole GPUs, or a share of one. Ask for 1 or 2"),
        (
            Stage.SFT,
            BATCHES,
            3.0,
            r"batch_size \(8\) cannot be shared by 3 GPUs that take micro_batch_size \(2\) each.",
        ),
        (Stage.REWARD, BATCHES, 8.0, "Make batch_size a multiple of 16, or lower micro_batch_size."),
    ],
)
def test_what_cannot_is_refused_by_name(stage: Stage, config: dict[str, Any], gpus: float, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        refuse_impossible(stage, config, gpus)


@pytest.mark.parametrize(
    ("machines", "wanted", "fits"),
    [
        ((1.0, 2.0), 3.0, True),
        ((1.0, 2.0), 4.0, False),
        ((0.5, 0.5), 1.0, False),  # whole ones only
        ((0.5, 0.5), 0.5, True),
        ((2.5, 1.5), 4.0, False),
        ((), 0.1, False),
    ],
)
def test_what_machines_can_ever_give(machines: tuple[float, ...], wanted: float, fits: bool) -> None:
    assert having(*machines).fit(wanted) is fits


def having(*gpus: float, free: float = 0.0, cores: float = 4.0, **more: Any) -> Machines:
    """Machines with so many GPUs each, on each of which so many are free."""
    return Machines(tuple(Machine(f"n{n}", f"h{n}", one, free, cores) for n, one in enumerate(gpus)), **more)


def test_a_job_waits_for_what_may_come_back_or_be_started() -> None:
    """No GPU now, a machine that has left, one that is to be mended; two machines that are simply too small are not."""
    assert having(0.0).may_grow()
    assert having(1.0, left=("10.0.0.3",)).may_grow()
    assert having(1.0, left_out=(("h7", "has no folder /data"),)).may_grow()
    assert not having(1.0, 1.0).may_grow()
    assert having(0.0).absent(1.0) == "1 GPU, and the cluster has none now"
    left = having(2.0, left=("10.0.0.3",), left_out=(("h7", "has no folder /data"),))
    assert left.absent(4.0) == "4 GPUs, and the cluster has 2 now; 10.0.0.3 left it; h7 has no folder /data"
    assert [processes(wanted) for wanted in (0.0, 0.5, 1.0, 2.0)] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("machines", "wanted", "there"),
    [
        (having(4.0, free=3.0), 1.0, True),
        (having(4.0, free=3.0, cores=0.0), 1.0, False),
        (having(1.0, 1.0, free=0.5), 1.0, False),  # two halves are no whole one
        (having(1.0, 1.0, free=1.0), 2.0, True),
        (having(1.0, 1.0, free=1.0), 3.0, False),
        (having(0.0), 0.0, True),
        (having(0.0, cores=0.5), 0.0, False),
    ],
)
def test_a_job_that_has_room_does_not_say_that_it_waits(machines: Machines, wanted: float, there: bool) -> None:
    assert machines.room_for(wanted) is there


def test_each_process_has_its_own_part_and_all_meet_at_the_first() -> None:
    places = [ActorPlace(f"h{a}", 1, f"10.0.0.{a}", 5000 + n) for n, a in enumerate((1, 2, 1))]
    assert [(r.rank, r.local_world) for r in ranks_of(places)] == [(0, 2), (1, 1), (2, 2)]
    assert ranks_of(places)[2].environment() == {
        "RANK": "2",
        "WORLD_SIZE": "3",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "5000",
    }


@pytest.mark.parametrize(
    ("config", "advised"),
    [
        (SFTConfig(batch_size=8, micro_batch_size=8), False),
        (SFTConfig(batch_size=8, micro_batch_size=4), True),
        (PPOConfig(batch_size=4, micro_batch_size=1, mini_batches=4), False),
        (PPOConfig(batch_size=4, micro_batch_size=1, mini_batches=2), True),
    ],
)
def test_more_gpus_are_advised_only_where_the_batch_goes_round_them(config: TrainingConfig, advised: bool) -> None:
    shape = ModelShape(weights=10**9, linear=10**6, width=1024, layers=16, vocabulary=32000)
    shapes = dict.fromkeys(("model", "reward_model"), shape)
    said = dict(instead(config, shapes, OnDevice(1)))
    assert ("gpus 2 with shard_weights" in said) == advised
