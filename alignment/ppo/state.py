"""All that the next update depends on, written to a folder and read back.

Tensors lie in safetensors and the rest in JSON: nothing in a checkpoint can run. A run that goes on
from one takes the steps that it would have taken, bit by bit.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from alignment.data.batch import Sequences
from alignment.ppo.adaptation import Adaptation
from alignment.ppo.evaluation import Evaluation, Selection
from alignment.ppo.learner import Learner
from alignment.ppo.prompt_set import EndlessBatches
from alignment.ppo.roles import trained_weights
from alignment.rollout.streams import Streams
from alignment.training.shards import is_shared, load_shares, placed, save_shares
from alignment.training.team import Team

REST = "state.json"
STORED = {"scores": "scores", "kl": "kl", "told": "information"}  # name in the file: field of an evaluation


@dataclass(frozen=True)
class TrainingState:
    """What changes from update to update; the models' frozen weights and the settings do not."""

    learners: Mapping[str, Learner]
    streams: Streams
    batches: EndlessBatches  # its generator also shuffles the update's mini-batches
    selection: Selection
    curve: list[dict[str, float]]
    adaptation: Adaptation

    def copied(self) -> SavedState:
        """As it is now, for a thread to write while training goes on. Kept weights and evaluations never change in
        place, so they need no copy."""
        selection, average, roles = self.selection, self.adaptation.average, self.selection.roles
        shared, first = is_shared(roles.policy), roles.team.first
        moving = {name: _tensors_of(learner) for name, learner in self.learners.items()}
        if average is not None:
            moving["average"] = average.weights
        staged = cast(dict[str, dict[str, Tensor]], self._stager.stage(moving)) if shared or first else {}
        return SavedState(
            trained={**staged, "kept": selection.weights},
            small={
                "looks": _tensors_of_evaluations(selection.evaluations),
                "random": {name: generator.get_state() for name, generator in self._generators().items()},
            },
            rest=json.dumps(self._rest()),
            shared=shared,
            first=first,
        )

    @functools.cached_property
    def _stager(self) -> DefaultStager:
        """Makes the copies, and keeps their room; from a GPU into pinned memory."""
        on_gpu = self.selection.roles.device.type == "cuda"
        return DefaultStager(StagingOptions(on_gpu, False, False, on_gpu))

    def _rest(self) -> dict[str, Any]:
        selection = self.selection
        return {
            "schedules": {name: _schedule(learner) for name, learner in self.learners.items()},
            "waiting": self.batches.waiting,
            "looks": [
                {"update": entry.update, "kl_price": entry.kl_price, "prompts": entry.prompts}
                for entry in selection.evaluations
            ],
            "kept": next(i for i, entry in enumerate(selection.evaluations) if entry is selection.kept),
            "curve": self.curve,
            "steering": self.adaptation.state(),
            "own_streams": self.streams.own,
        }

    def load(self, folder: Path) -> None:
        """Put back what `SavedState` wrote, into models and optimizers as they were when training began."""
        rest = json.loads((folder / REST).read_text(encoding="utf-8"))
        team, names = self.selection.roles.team, dict(trained_weights(self.selection.roles.policy))
        for name, learner in self.learners.items():
            _restore(learner, _trained(folder, name, _like(learner), team), rest["schedules"][name])
        self.batches.waiting = rest["waiting"]
        self.curve[:] = rest["curve"]
        device = self.selection.roles.device
        self.selection.evaluations = _evaluations(_read(folder, "looks"), rest["looks"], device)
        self.selection.kept = self.selection.evaluations[rest["kept"]]
        self.selection.weights = _trained(folder, "kept", names.get, team)
        self.adaptation.load(rest["steering"])
        if self.adaptation.average is not None:
            self.adaptation.average.load(_trained(folder, "average", names.get, team))
        # Older runs drew all responses from one stream, which several processes cannot share.
        self.streams.own = rest.get("own_streams", False) or self.selection.roles.team.size > 1
        states = _read(folder, "random")
        for name, generator in self._generators().items():
            if name in states:  # it may have been saved where there was no GPU
                _put_back(generator, states[name])

    def _generators(self) -> dict[str, torch.Generator]:
        """The stage's own, and torch's global ones."""
        found = {"sampling": self.streams.shared, "shuffling": self.batches.generator, "cpu": torch.default_generator}
        if self.adaptation.pretraining is not None:
            found["pretraining"] = self.adaptation.pretraining.order.generator
        if torch.cuda.is_available():
            found["cuda-0"] = torch.cuda.default_generators[torch.cuda.current_device()]  # the one that it uses
        return found


@dataclass(frozen=True)
class SavedState:
    """A copy of a `TrainingState`, which training does not change any more."""

    trained: Mapping[str, Mapping[str, Tensor]]
    small: Mapping[str, Mapping[str, Tensor]]
    rest: str
    shared: bool  # each process has its share of what is trained
    first: bool  # the first process, which writes all else

    def write(self, folder: Path, group: ProcessGroup | None) -> None:
        """All of it into an empty folder, which is there; `group`: of the processes that each write a share."""
        for name, tensors in self.trained.items():
            if self.shared:
                save_shares(tensors, folder / name, group)
            elif self.first:
                _write(folder, name, tensors)
        if not self.first:
            return
        for name, tensors in self.small.items():
            _write(folder, name, tensors)
        (folder / REST).write_text(self.rest + "\n", encoding="utf-8")


def _put_back(generator: torch.Generator, state: Tensor) -> None:
    """A CPU cannot read the state of a GPU's generator, nor the other way round: it begins anew, seeded by it."""
    if len(state) == len(generator.get_state()):
        generator.set_state(state)
    else:
        generator.manual_seed(zlib.crc32(state.numpy().tobytes()))


def _tensors_of(learner: Learner) -> dict[str, Tensor]:
    """Trained weights, and what the optimizer remembers of each by its number."""
    found = {f"weight.{name}": weight.detach() for name, weight in trained_weights(learner.model)}
    for number, slots in learner.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{number}.{slot}": value for slot, value in slots.items()}
    return found


def _like(learner: Learner) -> Callable[[str], Tensor | None]:
    """The weight that a tensor of `_tensors_of` is as large as; None: it is one number."""
    weights = dict(trained_weights(learner.model))
    numbered = list(weights.values())

    def like(key: str) -> Tensor | None:
        if key.startswith("weight."):
            return weights[key.removeprefix("weight.")]
        _, number, slot = key.split(".")
        return None if slot == "step" else numbered[int(number)]

    return like


def _trained(folder: Path, name: str, like: Callable[[str], Tensor | None], team: Team) -> dict[str, Tensor]:
    """Tensors of weights, saved whole or in shares, as this process holds them."""
    if (folder / name).is_dir():
        return load_shares(folder / name, like, team)
    found = _read(folder, name)
    return {key: value if (same := like(key)) is None else placed(value, same) for key, value in found.items()}


def _restore(learner: Learner, tensors: dict[str, Tensor], schedule: dict[str, Any]) -> None:
    with torch.no_grad():
        for name, weight in trained_weights(learner.model):
            weight.copy_(tensors[f"weight.{name}"])
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, number, slot = key.split(".")
            state.setdefault(int(number), {})[slot] = value.clone()
    groups = learner.optimizer.state_dict()["param_groups"]
    for group, rate in zip(groups, schedule["_last_lr"], strict=True):
        group["lr"] = rate
    learner.optimizer.load_state_dict({"state": state, "param_groups": groups})
    learner.schedule.load_state_dict({**schedule, "lr_lambdas": [None]})


def _schedule(learner: Learner) -> dict[str, Any]:
    return {key: value for key, value in learner.schedule.state_dict().items() if key != "lr_lambdas"}


def _tensors_of_evaluations(evaluations: Sequence[Evaluation]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for number, entry in enumerate(evaluations):
        found |= {f"{number}.{name}": getattr(entry, field) for name, field in STORED.items()}
        found |= {f"{number}.{field.name}": getattr(entry.sequences, field.name) for field in fields(Sequences)}
    return found


def _evaluations(tensors: dict[str, Tensor], rest: Sequence[dict[str, Any]], device: torch.device) -> list[Evaluation]:
    found = []
    for number, said in enumerate(rest):
        sequences = Sequences(*(tensors[f"{number}.{field.name}"] for field in fields(Sequences)))
        scores, kl, information = (tensors[f"{number}.{name}"] for name in STORED)
        found.append(
            Evaluation(said["update"], sequences.to(device), scores, kl, information, said["kl_price"], said["prompts"])
        )
    return found


def _write(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors")


def _read(folder: Path, name: str) -> dict[str, Tensor]:
    return load_file(folder / f"{name}.safetensors")
