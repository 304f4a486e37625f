"""Several processes on this machine that train together, as Ray's actors do; and what each of them found."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from alignment.data.batch import Sequences
from alignment.ppo import learner
from alignment.ppo.baselines.rloo import RLOO, advantages_of
from alignment.ppo.learner import Learner
from alignment.ppo.loop import Method
from alignment.ppo.roles import reply
from alignment.ppo.stage import PPO
from alignment.ppo.update import targets_of
from alignment.rollout.streams import draws_of
from alignment.shared.config import PPOConfig, RLOOConfig
from alignment.shared.events import NullReporter
from alignment.shared.stages import PPOInputs
from alignment.training.team import together
from alignment.training.trainer import ResumingTrainer
from tests.support.alignment.small_ppo import SETTINGS, inputs_of

PATIENCE = 300.0  # seconds; a busy machine takes long


def processes(size: int, work: Callable[..., None], *arguments: Any) -> list[multiprocessing.Process]:
    """`work(rank, *arguments)` in each of `size` processes, whose environment says that they belong together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=_one, args=(rank, size, port, work, arguments)) for rank in range(size)]
    for process in started:
        process.start()
    return started  # type: ignore[return-value]


def run(size: int, work: Callable[..., None], *arguments: Any) -> None:
    """The same, to the end of all; alone in this process."""
    if size == 1:
        work(0, *arguments)
        return
    for process in processes(size, work, *arguments):
        process.join(PATIENCE)
        assert process.exitcode == 0


def _one(rank: int, size: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK="0", WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    work(rank, *arguments)


def as_on_gpus() -> None:
    """For the trainers, in this process: accelerate shares weights out among GPUs alone; torch does so among CPU
    processes as well."""
    begin, step = PartialState.__init__, ResumingTrainer.training_step

    def seem(self: PartialState, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        if self.distributed_type is DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    def must_share(self: ResumingTrainer, model: torch.nn.Module, *rest: Any) -> torch.Tensor:
        assert isinstance(model, FSDPModule)
        assert all(weight.to_local().shape[0] <= -(-len(weight) // 2) for weight in model.parameters())
        return step(self, model, *rest)

    PartialState.__init__ = seem
    ResumingTrainer.training_step = must_share


# ---------------------------------------------------------------- the equality of their numbers

# Six rows in two steps of three: an uneven share for two processes, and of four processes one has no row.
STEP = SETTINGS | {"batch_size": 6, "mini_batches": 2, "micro_batch_size": 2, "inner_epochs": 1}
STEP |= {"learning_rate": 1e-6, "max_response_length": 7, "max_grad_norm": 1e9}
PROMPTS = [[3, 10, 11], [3, 10, 11], [4, 12], [4, 12], [3, 13, 14, 15], [3, 13, 14, 15]]  # two replies to each
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "ppo": (PPO.start, PPOConfig, {"entropy_coef": 0.01}),
    "rloo": (RLOO.start, RLOOConfig, {"responses_per_prompt": 2}),
}


@dataclass(frozen=True)
class Found:
    """The numbers of one update."""

    tokens: Tensor
    advantages: Tensor
    metrics: dict[str, float]
    gradients: list[dict[str, Tensor]]  # of each optimizer step


def one_update(rank: int, kind: str, settings: dict[str, Any], folder: Path, replayed: Sequences | None = None) -> None:
    """Leave `found-RANK.pt`: an update on the rollout that was given, beside what it draws itself."""
    start, config_class, own = KINDS[kind]
    config = config_class.model_validate(STEP | own | settings)
    torch.manual_seed(0)
    with together() as team:
        method: Method = start(config, PPOInputs.model_validate(inputs_of(folder)), NullReporter(), team)
        drawn = reply(method.roles, PROMPTS, config, torch.Generator(), draws_of(0, 1))
        rollout = method.record(replayed or drawn.sequences, drawn.sampled_logprobs)
        rollout = replace(rollout, sampled_logprobs=None)
        advantages = advantages_of(rollout, config)[0] if kind == "rloo" else targets_of(rollout, config).advantages
        with kept_gradients() as gradients:
            metrics = method.update(rollout, torch.Generator().manual_seed(0))
    found = Found(drawn.sequences.input_ids, advantages, metrics, gradients)
    torch.save(found, folder / f"found-{team.size}-{rank}.pt")


@contextmanager
def kept_gradients() -> Iterator[list[dict[str, Tensor]]]:
    """Those of every optimizer step, as they are before they are clipped."""
    kept: list[dict[str, Tensor]] = []
    step = Learner.step

    def keeping(self: Learner) -> float:
        clip = learner.clip_grad_norm_

        def clipping(weights: Any, most: float) -> Tensor:
            named = ((name, weight.grad) for name, weight in self.model.named_parameters())
            kept.append({name: whole(gradient).clone() for name, gradient in named if gradient is not None})
            return clip(weights, most)

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(learner, "clip_grad_norm_", clipping)
            return step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", keeping)
        yield kept


def whole(tensor: Any) -> Tensor:
    """Of a share, all of it."""
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found.detach()
