"""The processes that train one policy together, each on a GPU of its own. All run the same loop.

What is cheap every process knows whole: the prompts of a batch, its rollout, advantages, evaluations, alarms. What is
dear is split by rows: decoding, forward and backward passes. A row's numbers are put in their place among all, and
gradients are summed, so every process goes on with the same numbers, and how many there are changes no result.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from alignment.data.batch import Sequences
from alignment.models.device import pick_device
from alignment.models.forward import Model
from alignment.shared.errors import Diverged, PeersLost
from alignment.shared.events import NullReporter, Reporter
from alignment.shared.sentence import Sentence

Said = TypeVar("Said")

BUCKET = 2**24  # numbers of gradients that travel together
PATIENCE = timedelta(minutes=30)  # for the slowest process, as long as the other stages have
NEXT_STEP = Sentence("lower-rate-or-raise-kl", "Lower learning_rate or raise kl_coef.")


@dataclass(frozen=True)
class Share:
    """The rows of one process, as many for each: passes that all make together need all of them."""

    rows: Tensor  # (n,) numbers of its rows
    counts: Tensor  # (n,) False: another's row, which only fills the last place


@dataclass(frozen=True)
class Team:
    """One of `size` processes; alone it does nothing to what it is given."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process reports and writes the files."""
        return self.rank == 0

    def share(self, lengths: Sequence[int] | Tensor) -> Share:
        """This process's rows of those of `lengths` `(B,)` tokens: dealt by length, to and fro, so that all get
        about as many tokens."""
        lengths = torch.as_tensor(lengths).cpu()
        if self.size == 1:
            return Share(torch.arange(len(lengths)), torch.ones(len(lengths), dtype=torch.bool))
        order = lengths.argsort(descending=True, stable=True)
        places = torch.arange(len(order)) % (2 * self.size)
        mine = order[torch.minimum(places, 2 * self.size - 1 - places) == self.rank]
        filler = order[-1:] if len(mine) < math.ceil(len(order) / self.size) else order[:0]
        return Share(torch.cat([mine, filler]), torch.arange(len(mine) + len(filler)) < len(mine))

    def gather(self, part: Tensor, share: Share, shape: Sequence[int]) -> Tensor:
        """What every process found of its share, `(n, ...)`, in the places of the rows: of `shape`, 0 elsewhere."""
        if self.size == 1:
            return part
        whole = part.new_zeros(shape)
        within: Any = (share.rows[share.counts], *map(slice, part.shape[1:]))
        whole[within] = part[share.counts]
        dist.all_reduce(whole)  # of all but one process 0: the sum is exact
        return whole

    def by_rows(self, compute: Callable[[Sequences], Tensor], sequences: Sequences) -> Tensor:
        """`compute` `(B, R)` of all rows, each on one process."""
        if self.size == 1:
            return compute(sequences)
        share = self.share(sequences.lengths)
        return self.gather(compute(sequences.select(share.rows)), share, sequences.response_mask.shape)

    def own(self, generator: torch.Generator) -> torch.Generator:
        """For what draws by itself: as far on as `generator`, which goes on alike everywhere, but of this process."""
        if self.size == 1:
            return generator
        seeds = torch.randint(2**62, (self.size,), generator=generator, device=generator.device)
        return torch.Generator(generator.device).manual_seed(int(seeds[self.rank]))

    def sum_gradients(self, model: Model) -> None:
        """Over all processes; those of shared weights are summed as they are made."""
        if self.size == 1:
            return
        found = [weight.grad for weight in model.parameters() if weight.grad is not None]
        for bucket in _buckets([gradient for gradient in found if not isinstance(gradient, DTensor)]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            for gradient, summed in zip(bucket, torch.split(flat, [g.numel() for g in bucket]), strict=True):
                gradient.copy_(summed.view_as(gradient))

    def sum_metrics(self, shares: dict[str, float]) -> dict[str, float]:
        """Each metric's sum. Diverged names the process whose share is no number."""
        if self.size == 1:
            return shares
        each = [torch.zeros(len(shares), dtype=torch.float64) for _ in range(self.size)]
        dist.all_gather(each, torch.tensor(list(shares.values()), dtype=torch.float64))
        for rank, values in enumerate(each):
            for name, value in zip(shares, values.tolist(), strict=True):
                if not math.isfinite(value):
                    cause = Sentence(
                        "became-in-process",
                        "%(name)s became %(value)s in process %(rank)s of %(size)s.",
                        name=name,
                        value=value,
                        rank=rank + 1,
                        size=self.size,
                    )
                    raise Diverged(cause, NEXT_STEP)
        return dict(zip(shares, torch.stack(each).sum(dim=0).tolist(), strict=True))

    def anywhere(self, said: bool) -> bool:
        """True on every process once it is on one: all save and stop together."""
        if self.size == 1:
            return said
        found = torch.tensor(int(said))
        dist.all_reduce(found)
        return bool(found)

    def from_first(self, said: Said) -> Said:
        """What the first process says."""
        if self.size > 1:
            box = [said]
            dist.broadcast_object_list(box, src=0)
            (said,) = box
        return said

    def to_first(self, said: Said) -> list[Said]:
        """What each process says, in order; nothing on the others."""
        if self.size == 1:
            return [said]
        each: list[Said] = [said] * self.size
        dist.gather_object(said, each if self.first else None, dst=0)
        return each if self.first else []

    def to_all(self, said: Said) -> list[Said]:
        """What each process says, in order, on every process."""
        each: list[Said] = [said] * self.size
        if self.size > 1:
            dist.all_gather_object(each, said)
        return each

    def reporter(self, reporter: Reporter) -> Reporter:
        """The first process reports for all; what is asked of one process is asked of all."""
        return reporter if self.size == 1 else cast(Reporter, TeamReporter(reporter, self))


class TeamReporter:
    """All processes ask it the same at the same time."""

    def __init__(self, own: Reporter, team: Team) -> None:
        self._own, self._team = own, team
        self._voice = own if team.first else NullReporter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._voice, name)

    def cancelled(self) -> bool:
        return self._team.anywhere(self._own.cancelled())

    def paused(self) -> bool:
        return self._team.anywhere(self._own.paused())


ALONE = Team()


@contextmanager
def together() -> Iterator[Team]:
    """The processes that the environment names. PeersLost where they do not find one another."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    rank, where = int(os.environ["RANK"]), f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    device = pick_device()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        told = str(error).strip().partition("\n")[0]
        cause = Sentence(
            "peers-not-found",
            "Process %(rank)s of %(size)s did not find the others at %(where)s: %(told)s",
            rank=rank + 1,
            size=size,
            where=where,
            told=told,
        )
        step = Sentence(
            "peers-open",
            "Open that way between the machines; name the interface in GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME.",
        )
        raise PeersLost(cause, step) from error
    try:
        yield Team(rank, size)
    finally:
        dist.destroy_process_group()


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Those that travel together: of one number type, and not too many."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        full = sum(g.numel() for g in bucket) + gradient.numel() > BUCKET
        if bucket and (full or bucket[0].dtype != gradient.dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
