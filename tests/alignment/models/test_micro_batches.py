"""Micro-batches two at a time on a CPU: the same gradients and numbers as one after another."""

import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignment.data.batch import Sequences
from alignment.models import micro_batches
from alignment.models.micro_batches import accumulate, in_micro_batches
from alignment.ppo import update as ppo_update
from alignment.ppo.roles import ActorCritic
from tests.support.alignment import small_ppo, tiny


@pytest.fixture
def two_cores() -> Iterator[None]:
    """As torch counts them; restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def gradients(folder: Path, cores: int, **settings: object) -> tuple[list[torch.Tensor], dict[str, float]]:
    """Of one optimizer step of policy and critic, and its metrics."""
    torch.set_num_threads(cores)
    cast, config = small_ppo.cast_of(folder, micro_batch_size=4, **settings)
    rollout = small_ppo.rollout_of(cast, config)
    targets = ppo_update.targets_of(rollout, config)
    rows = torch.arange(config.batch_size)
    metrics = ppo_update._accumulate(cast, rollout, targets, rows, config, config.kl_coef)
    return [weight.grad for weight in trained(cast)], metrics


def trained(cast: ActorCritic) -> list[torch.Tensor]:
    return [weight for model in (cast.policy, cast.critic) for weight in model.parameters() if weight.requires_grad]


@pytest.mark.parametrize("settings", [{}, {"gradient_checkpointing": True}, {"lora": {"rank": 4}}])
def test_two_lanes_give_what_one_gives(folders: Path, two_cores: None, settings: dict[str, object]) -> None:
    (one, metrics), (two, others) = (gradients(folders, cores, **settings) for cores in (1, 2))
    for alone, together in zip(one, two, strict=True):
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-4)
    assert others == pytest.approx(metrics, abs=1e-6)


def test_two_lanes_give_the_same_bits_again(folders: Path, two_cores: None) -> None:
    (first, metrics), (again, others) = (gradients(folders, 2) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert metrics == others


@given(st.lists(st.integers(1, 500), min_size=1, max_size=70), st.integers(1, 9), st.sampled_from([1, 2]))
def test_every_row_is_visited_once_by_even_lanes(lengths: list[int], size: int, cores: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        lanes = micro_batches._side_by_side(
            lambda lane, groups: [(threading.get_ident(), group.tolist()) for group in groups],
            torch.tensor(lengths),
            size,
        )
    finally:
        torch.set_num_threads(before)
    assert sorted(row for groups in lanes for _, rows in groups for row in rows) == list(range(len(lengths)))
    assert all(len(rows) <= size for groups in lanes for _, rows in groups)
    if cores == 1 or len(lengths) <= size:
        assert len(lanes) == 1
    else:
        assert len({thread for groups in lanes for thread, _ in groups}) == 2
        tokens = [sum(lengths[row] for _, rows in groups for row in rows) for groups in lanes]
        assert abs(tokens[0] - tokens[1]) <= max(lengths)


def test_each_lane_computes_on_its_half_of_the_cores_without_gradient(two_cores: None) -> None:
    model = tiny.causal()
    sequences = Sequences.join([[3, 4, 5]] * 4, [[6, 7]] * 4, [False] * 4, pad_id=0)
    seen = []

    def compute(part: Sequences) -> torch.Tensor:
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return model.model.embed_tokens.weight[: len(part), :2]

    assert not in_micro_batches(compute, sequences, 2).requires_grad
    assert len({thread for thread, _ in seen}) == 2
    assert {cores for _, cores in seen} == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("failing", [0, 1])
def test_what_fails_in_a_lane_is_told_when_both_are_done_and_the_cores_come_back(two_cores: None, failing: int) -> None:
    begun, done = threading.Event(), []

    def work(lane: int, groups: object) -> None:
        if lane == failing:
            begun.wait()
            raise ValueError(f"lane {lane}")
        begun.set()
        time.sleep(0.2)  # still at work when the other has failed
        done.append(lane)

    with pytest.raises(ValueError, match=f"lane {failing}"):
        micro_batches._side_by_side(work, torch.arange(1, 9), 2)
    assert done == [1 - failing]
    assert torch.get_num_threads() == 2


def test_a_forked_process_has_a_second_thread_of_its_own(two_cores: None) -> None:
    def work(lane: int, groups: object) -> int:
        return lane

    assert micro_batches._side_by_side(work, torch.arange(1, 9), 2) == [0, 1]
    child = multiprocessing.get_context("fork").Process(
        target=lambda: sys.exit(sum(micro_batches._side_by_side(work, torch.arange(1, 9), 2)))
    )
    child.start()
    child.join()
    assert child.exitcode == 1
    child.close()


def test_a_model_is_asked_when_the_one_before_is_differentiated() -> None:
    models, done = [torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)], []

    def loss_of(model: torch.nn.Linear) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        done.append([each.weight.grad is not None for each in models])
        return model.weight.sum(), {}

    accumulate(models, torch.tensor([3]), 1, lambda rows: [partial(loss_of, model) for model in models])  # type: ignore[arg-type]
    assert done == [[False, False], [True, False]]


def test_weights_that_only_one_lane_meets(two_cores: None) -> None:
    """As experts that few tokens are sent to; and one gradient tensor that autograd hands out for two weights."""
    model = torch.nn.ParameterList([torch.zeros(3) for _ in range(3)])

    def loss_of(rows: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = (model[0] + model[1]).sum() * len(rows)
        if 1 in rows:  # the second longest is in the second lane
            loss = loss + model[2].sum()
        return loss, {"rows": torch.tensor(float(len(rows)))}

    lengths = torch.tensor([9, 8, 7, 6])
    assert accumulate([model], lengths, 1, lambda rows: [partial(loss_of, rows)]) == {"rows": 4.0}  # type: ignore[list-item]
    assert [weight.grad.tolist() for weight in model] == [[4.0] * 3, [4.0] * 3, [1.0] * 3]
    model[0].grad.mul_(2)
    assert model[1].grad.tolist() == [4.0] * 3
