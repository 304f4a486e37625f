"""A model of which each process of a team holds a share: of every weight, its gradient, and the optimizer's memory.

The first process reads the folder, on the CPU; the others are sent the model's skeleton, and each its shares. Layers
are whole for as long as they compute (FSDP2). Decoding would gather each of them for every token, so it has a copy of
the policy, made anew when the policy has moved.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MethodType
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from alignment.models.adapters import is_adapted
from alignment.models.device import dtype_for, pick_device
from alignment.models.ensemble import Ensemble
from alignment.models.forward import WITHIN, Model
from alignment.training.team import Team

Roles = TypeVar("Roles")


def loaded(load: Callable[[torch.device | None], Roles], team: Team, *, shares: bool) -> Roles:
    """The models, in the fields of a record, that `load` reads: on the device of each process; or in shares, of what
    it reads onto the CPU of the first one, which forgets each model when it has been shared out."""
    if team.size == 1 or not shares:
        return load(None)
    whole = load(torch.device("cpu")) if team.first else None
    left, roles = dict(vars(whole)) if whole else {}, team.from_first(whole and _bare(whole))
    del whole
    assert roles is not None, "the first process sends it"
    made, placed = dict[int, Model](), Placed()
    bare, found = skeleton(cast(Any, roles).policy), dict[str, Any]()
    for name, model in vars(roles).items():
        if isinstance(model, torch.nn.Module | Ensemble):
            # The reference keeps the policy's number type; what else is frozen is as frozen weights are.
            frozen = None if name == "reference" else dtype_for(pick_device(), trained=False)
            found[name] = _share(left.pop(name, None), model, team, frozen, made, placed)
    return cast(Roles, replace(cast(Any, roles), team=team, copy=GatheredCopy(found["policy"], bare), **found))


def _share(
    whole: Any, bare: Any, team: Team, frozen: torch.dtype | None, made: dict[int, Model], placed: Placed
) -> Any:
    """A model, or an ensemble, whose members may be one model, in shares; `made` by the skeleton."""
    if not isinstance(bare, Ensemble):
        return share_out(whole, bare, team, frozen, placed)
    for number, member in enumerate(bare.models):
        if id(member) not in made:
            made[id(member)] = share_out(whole.models[number] if whole else None, member, team, frozen, placed)
    return replace(bare, models=tuple(made[id(member)] for member in bare.models))


def _bare(record: Any) -> Any:
    """The record with skeletons for its models."""
    memo: dict[int, Any] = {}
    for value in vars(record).values():
        for model in value.models if isinstance(value, Ensemble) else [value]:
            if isinstance(model, torch.nn.Module):
                memo |= _without_numbers(cast(Model, model))
    return copy.deepcopy(record, memo)


class Placed:
    """This process's share of each weight, by the weight in the skeleton: models that stand on one have one share."""

    def __init__(self) -> None:
        self._shares = dict[int, tuple[torch.nn.Parameter, torch.nn.Parameter]]()

    def of(self, weight: torch.nn.Parameter, make: Callable[[], torch.nn.Parameter]) -> torch.nn.Parameter:
        """The share, made when it is first asked for."""
        if id(weight) not in self._shares:
            self._shares[id(weight)] = weight, make()  # the weight itself, too: so nothing else gets its id
        return self._shares[id(weight)][1]


def share_out(
    whole: Model | None, model: Model, team: Team, frozen: torch.dtype | None = None, placed: Placed | None = None
) -> Model:
    """`model`, a skeleton, with this process's shares of the weights of `whole`, which the first process has.

    `frozen`: the number type of weights that are not trained; unset: as they are. `placed`: of models before it.
    """
    device, bare = pick_device(), dict(model.named_parameters())
    mesh = init_device_mesh(device.type, (team.size,))
    for layer in _layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(cast(torch.nn.Module, model), mesh=mesh, reshard_after_forward=True)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # losses are shares of the whole step's
            module.set_force_sum_reduction_for_comms(True)  # so nothing needs to be scaled on the way
    _fill(model, whole, bare, placed or Placed(), device, frozen)
    setattr(model, WITHIN, MethodType(lambda self, compute: compute(), model))
    register_fsdp_forward_method(cast(torch.nn.Module, model), WITHIN)
    return model


def is_shared(model: object) -> bool:
    """Whether this process holds a share of it."""
    return isinstance(model, FSDPModule)


def skeleton(model: Model, *, tables: bool = False) -> Model:
    """The model without its numbers, but for its computed `tables`; weights that are one stay one."""
    kept = {id(buffer): buffer for buffer in model.buffers()} if tables else {}
    return copy.deepcopy(model, _without_numbers(model) | kept)


def with_room(bare: Model) -> Model:
    """A skeleton with room on the CPU for its numbers, which costs no memory until somebody writes there. A library
    that tells weights by where they lie needs it."""
    room = {
        id(w): torch.nn.Parameter(torch.empty_like(w, device="cpu"), w.requires_grad) for w in list(bare.parameters())
    }
    _put_weights(bare, room)
    return bare


def _without_numbers(model: Model) -> dict[int, Any]:
    """For a deep copy: what stands for each of its tensors."""
    tensors = (*model.parameters(), *model.buffers())
    memo: dict[int, Any] = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}
    for weight in model.parameters():
        memo[id(weight)] = torch.nn.Parameter(memo[id(weight)], weight.requires_grad)
    return memo


def gathered(tensor: Tensor) -> Tensor:
    """All of a tensor, on every process, which must all ask; one that is not shared as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


class GatheredCopy:
    """The whole policy on each process, in the number type of frozen weights."""

    def __init__(self, policy: Model, bare: Model) -> None:
        """`bare`: the policy's skeleton from before it was shared out."""
        device = pick_device()
        self.model, self._policy = bare, policy
        frozen = dtype_for(device, trained=False)
        made = {
            id(weight): torch.nn.Parameter(torch.empty_like(weight, device=device, dtype=frozen), requires_grad=False)
            for weight in bare.parameters()
        }
        _put_weights(bare, made)
        tables = dict(policy.named_buffers())
        for name, _ in list(bare.named_buffers()):
            _put_buffer(bare, name, tables[name])
        self._copy(trained=False)

    def now(self) -> Model:
        """With the policy's weights of this moment; every process must ask."""
        self._copy(trained=True)
        return self.model

    @torch.no_grad()
    def _copy(self, *, trained: bool) -> None:
        for mine, weight in zip(self.model.parameters(), self._policy.parameters(), strict=True):
            if weight.requires_grad is trained:
                mine.copy_(gathered(weight))


def whole_on_first(policy: Model, like: Model, team: Team) -> Model | None:
    """The whole model on the CPU of the first process, built as `like`; every process must ask."""
    model, made = skeleton(like), dict[int, torch.nn.Parameter]()
    for mine, weight in zip(model.parameters(), policy.parameters(), strict=True):
        full = gathered(weight.detach())
        if team.first:
            made[id(mine)] = torch.nn.Parameter(full.cpu(), weight.requires_grad)
    if not team.first:
        return None
    _put_weights(model, made)
    for name, buffer in list(policy.named_buffers()):
        _put_buffer(model, name, buffer.cpu())
    return model


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which every process has, where and as `like` is."""
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def save_shares(tensors: Mapping[str, Tensor], folder: Path, group: dist.ProcessGroup | None) -> None:
    """Each process writes its shares, as safetensors; every one of `group` must. Raises as `causes` does."""
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    with causes():
        save(dict(tensors), storage_writer=writer, process_group=group)


@contextmanager
def causes() -> Iterator[None]:
    """Where shares are written or read: raises what the first process that could not failed of, on all.

    torch's own exception names no cause, and is none that `except Exception` catches.
    """
    try:
        yield
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from error


def load_shares(folder: Path, like: Callable[[str], Tensor | None], team: Team) -> dict[str, Tensor]:
    """What any number of processes saved, cut as this one's are: each as the tensor that `like` names for it. Raises as
    `causes` does."""
    reader = HuggingFaceStorageReader(str(folder))
    found: dict[str, Tensor] = {}
    for name, told in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(told, TensorStorageMetadata)
        same = like(name)
        found[name] = torch.zeros(told.size) if same is None else torch.zeros_like(same)
    with causes():
        load(found, storage_reader=reader, no_dist=team.size == 1)
    return found


def _layers(model: Model) -> Iterator[torch.nn.Module]:
    """What is gathered at a time."""
    base: Any = model.get_base_model() if is_adapted(model) else model
    kinds = tuple(base._no_split_modules or ())
    return (module for module in base.modules() if type(module).__name__ in kinds)


def _fill(
    model: Model,
    whole: Model | None,
    bare: Mapping[str, torch.nn.Parameter],
    placed: Placed,
    device: torch.device,
    frozen: torch.dtype | None,
) -> None:
    """Give each process its share of every weight, one weight at a time, and all the computed tables."""
    theirs = dict(whole.named_parameters()) if whole else {}
    made: dict[int, torch.nn.Parameter] = {}
    for name, weight in list(model.named_parameters()):
        share = functools.partial(_share_of, theirs.get(name), weight, device, frozen)
        made[id(weight)] = placed.of(bare[name], share)
    _put_weights(model, made)
    tables = dict(whole.named_buffers()) if whole else {}
    for name, buffer in list(model.named_buffers()):
        full = tables[name].to(device) if whole else torch.empty_like(buffer, device=device)
        dist.broadcast(full, src=0)
        _put_buffer(model, name, full)


def _share_of(
    full: Tensor | None, weight: torch.nn.Parameter, device: torch.device, frozen: torch.dtype | None
) -> torch.nn.Parameter:
    """Cut as `weight` is; the first process has it in `full`, and sends each its part."""
    assert isinstance(weight, DTensor)
    dtype = weight.dtype if weight.requires_grad or frozen is None else frozen
    here = torch.empty(weight.shape, dtype=dtype, device=device) if full is None else full.detach().to(device, dtype)
    return torch.nn.Parameter(distribute_tensor(here, weight.device_mesh, weight.placements), weight.requires_grad)


def _put_weights(model: Model, made: Mapping[int, torch.nn.Parameter]) -> None:
    """New weights by the identity of the old ones: those that are one stay one."""
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None:
                module._parameters[name] = made[id(old)]


def _put_buffer(model: Model, name: str, buffer: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    model.get_submodule(path)._buffers[leaf] = buffer
