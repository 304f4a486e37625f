"""What the two TRL stages share: arguments, the line from Trainer to Reporter, and going on from a checkpoint."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from alignment.cpu.memory import give_freed_memory_back
from alignment.models.adapters import has_soft_prompt
from alignment.models.device import has_bfloat16, pick_device
from alignment.models.forward import Model
from alignment.models.library import recomputing
from alignment.shared.config import RewardConfig, SFTConfig
from alignment.shared.errors import BadInput, Diverged
from alignment.shared.events import Meter, Paused, Reporter
from alignment.shared.sentence import Sentence
from alignment.training.checkpoints import PARTIAL, Checkpoints
from alignment.training.shards import causes, skeleton, with_room
from alignment.training.team import Team

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL's trainers send a usage ping otherwise


SOFT_PROMPT = "soft_prompt.safetensors"
SCHEDULES: dict[str, dict[str, Any]] = {
    "cosine": {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
    "linear": {"lr_scheduler_type": "linear"},
    "constant": {"lr_scheduler_type": "constant_with_warmup"},
}


def common_arguments(config: SFTConfig | RewardConfig, scratch: Path) -> dict[str, Any]:
    """Trainer arguments from our settings; nothing is pushed or reported but by us, and saved when we say."""
    gpu = torch.cuda.is_available()
    together = config.micro_batch_size * _processes()
    half = config.number_type == "float16"
    if half and not gpu:
        cause = Sentence(
            "float16-no-gpu", "number_type is 'float16', whose loss is scaled on a GPU alone, and there is none."
        )
        raise BadInput(cause, Sentence("number-type-auto", "Set number_type to 'auto'."))
    shared, checkpointing = _shares(config), config.gradient_checkpointing
    shares = {"state_dict_type": "SHARDED_STATE_DICT", "activation_checkpointing": checkpointing}
    shares |= {"cpu_ram_efficient_loading": True}  # on the first process alone
    return {
        "output_dir": str(scratch),
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.micro_batch_size,
        "gradient_accumulation_steps": max(1, config.batch_size // together),
        "max_grad_norm": config.max_grad_norm,
        "weight_decay": config.weight_decay,
        "warmup_steps": config.warmup_ratio,  # below 1 it is a share of the steps
        **SCHEDULES[config.schedule],
        "adam_beta1": config.adam_beta1,
        "adam_beta2": config.adam_beta2,
        "adam_epsilon": config.adam_epsilon,
        **recomputing(TrainingArguments, checkpointing and not shared),  # FSDP has its own
        "fsdp": shared,
        "fsdp_config": shares if shared else None,
        "seed": config.seed,
        "bf16": has_bfloat16(pick_device()) and not half,
        "fp16": half,
        "use_cpu": not gpu,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a NaN loss must be seen, not replaced by the last good one
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


class ReporterCallback(TrainerCallback):
    """Reports each optimizer step and stops on a cancel request or a loss that is no number."""

    def __init__(self, reporter: Reporter, phase: str) -> None:
        self.reporter, self.phase = reporter, phase
        self.latest: dict[str, float] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock."""
        self.meter = Meter(self.reporter, self.phase, state.max_steps, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """After each step: `logs` hold loss, grad_norm, learning_rate and the trainer's own metrics."""
        if not logs or "loss" not in logs:  # the summary at the end
            return
        numbers = {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
        if args.fp16 and not math.isfinite(numbers.get("grad_norm", 0.0)):
            del numbers["grad_norm"]  # the loss was scaled too far: the step was not taken, the next is scaled less
        if not math.isfinite(numbers["loss"]) or not math.isfinite(numbers.get("grad_norm", 0.0)):
            norm = numbers.get("grad_norm")
            raise Diverged(
                Sentence(
                    "loss-diverged",
                    "The loss became %(loss)s (gradient norm %(norm)s) at step %(global_step)s.",
                    loss=numbers["loss"],
                    norm=norm,
                    global_step=state.global_step,
                ),
                Sentence("lower-rate-or-norm", "Lower learning_rate or max_grad_norm."),
            )
        self.latest = numbers
        self.meter.step(numbers)


class CheckpointCallback(TrainerCallback):
    """Saves at the step borders where it is time, and stops there when a pause was asked for."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints, self.pausing = checkpoints, False

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Once a step is logged, so that what was asked while it was reported is heard at this border."""
        if not logs or "loss" not in logs:  # the summary at the end
            return
        self.pausing = _anywhere(self.checkpoints.pausing())
        due = writes() and self.checkpoints.due(state.global_step, state.max_steps)  # who writes has the clock
        if _anywhere(due) or self.pausing:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.pausing:
            raise Paused(f"Paused after step {state.global_step} of {state.max_steps}.")


class ResumingTrainer(Trainer):
    """Its checkpoints appear whole, and it goes on from them. `checkpoints` is set before training."""

    checkpoints: Checkpoints
    _total_train_tokens: int  # TRL's count for its log, which it does not restore

    def __init__(self, *, args: TrainingArguments, **more: Any) -> None:
        # One process is one device: over all that it sees the library would spread each batch (nn.DataParallel).
        args._n_gpu = min(args.n_gpu, 1)
        super().__init__(args=args, **more)

    def go_on(self) -> list[dict[str, Any]]:
        """Train to the end, from the newest checkpoint if there is one; return the log of every step ever taken.

        The first process finds it, and the others are told: where one is written or lost meanwhile, two that look for
        themselves could go on from different steps.
        """
        team = _team()
        newest = team.from_first(self.checkpoints.newest() if team.first else None)
        if newest is None:
            self.train()
        else:
            state = TrainerState.load_from_json(str(newest / TRAINER_STATE_NAME))
            self._total_train_tokens = int(state.log_history[-1].get("num_tokens", 0))
            if state.global_step < state.max_steps:
                self.train(resume_from_checkpoint=str(newest))
            else:  # the trainer would take one step more
                self._load_from_checkpoint(str(newest))
                self.state = state
        give_freed_memory_back()
        return [entry for entry in self.state.log_history if "loss" in entry]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """A soft prompt's own weights: PEFT keeps what they come to, from which p_tuning cannot go on."""
        if not has_soft_prompt(self.model):
            with causes():
                super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        self.model.load_state_dict(load_file(Path(resume_from_checkpoint, SOFT_PROMPT)), strict=False)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        if has_soft_prompt(self.model):
            assert output_dir is not None, "checkpoints name their folder"
            trained = {name: weight.detach() for name, weight in self.model.named_parameters() if weight.requires_grad}
            save_file(trained, Path(output_dir, SOFT_PROMPT))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Every process writes its part; the first one makes the folder before, and publishes it after."""
        state = self.state
        with self.checkpoints.saving(state.global_step, state.max_steps) if self.args.should_save else nullcontext():
            self.accelerator.wait_for_everyone()
            with causes():
                Trainer._save_checkpoint(self, model, trial)  # TRL's own would write a model card, too
            self.accelerator.wait_for_everyone()


@contextmanager
def place_to_save(checkpoints: Checkpoints) -> Iterator[Path]:
    """The folder in which a trainer puts its checkpoints, for `Checkpoints.saving` to move; or one to throw away."""
    if checkpoints.folder is not None:
        yield checkpoints.folder / PARTIAL
        return
    with TemporaryDirectory() as scratch:  # the trainer wants a folder, though it saves nothing
        yield Path(scratch)


def load_to_train(load: Callable[[torch.device | None], Model], config: SFTConfig | RewardConfig) -> Model:
    """The model that `load` reads. Where each process is to hold a share of it, the first one reads it, onto the CPU,
    and the others have room for it."""
    if not _shares(config):
        return load(None)
    team = _team()
    whole = load(torch.device("cpu")) if team.first else None
    bare = team.from_first(whole and skeleton(whole, tables=True))
    assert bare is not None, "the first process sends it"
    return with_room(bare) if whole is None else whole


@contextmanager
def model_to_train(model: Model, config: SFTConfig | RewardConfig) -> Iterator[Model]:
    """`model`; or, where each process is to hold a share of it, those shares, which the first one's `model` gets back
    from all."""
    if not _shares(config):
        yield model
        return
    shared = copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})
    yield shared  # the library gives each process its shares of what the first one has
    whole = get_model_state_dict(shared, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if whole:
        model.load_state_dict(whole)
        torch.nn.Module.to(model, pick_device())


def writes() -> bool:
    """Whether this is the process that measures and writes what several have trained."""
    return int(os.environ.get("RANK", "0")) == 0


def _team() -> Team:
    """The processes as the trainer's library has joined them."""
    state = PartialState(cpu=not torch.cuda.is_available())
    return Team(state.process_index, state.num_processes)


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _shares(config: SFTConfig | RewardConfig) -> bool:
    return config.shard_weights and _processes() > 1


def _anywhere(said: bool) -> bool:
    """True on every process once it is on one: all save and stop together."""
    if PartialState().num_processes == 1:
        return said
    return float(reduce(torch.tensor(float(said), device=PartialState().device), "sum")) > 0
