"""Checkpoints that a killed run goes on from: they appear whole, and damaged ones are passed over.

    CHECKPOINTS/RUN[/member-N]/checkpoint-STEP/    manifest.json and the files that it lists

RUN is a fingerprint of settings, models and records: no run goes on from another's checkpoint.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from alignment.shared.artifact import files_below, publish, sha256_file, verify
from alignment.shared.config import Baseline, PPOConfig, RewardConfig, Stage, SupervisedConfig, TrainingConfig
from alignment.shared.errors import DiskFull, StageError, is_full
from alignment.shared.events import Reporter, SavedCheckpoint
from alignment.shared.policy.ppo_config import PolicyConfig
from alignment.shared.records import canonical_json, sha256_text
from alignment.shared.sentence import Sentence
from alignment.shared.stages import ResumableInputs
from alignment.training.team import ALONE, Team

FORMAT = 1  # of what a checkpoint holds; another one starts over
KEPT = 2  # checkpoints of a run: the newest may turn out damaged
PARTIAL = "partial"  # where a checkpoint is written until it is whole
WHEN = ("save_every", "save_minutes")  # settings that change no weight
LATER: tuple[str, ...] = (  # came when runs had checkpoints
    "template_refusals",
    "save_dtype",
    "method",
    "layers",
    "bottleneck",
    "virtual_tokens",
    "packing",
    "source_weights",
    "source_cap",
    "lora.targets",
    "lora.rank_stabilised",
    "lora.dora",
    "lora.bits",
    "alarms.engine_gap",
    "clip_range_high",
    "critic_warmup",
    "group_baseline",
    "offload_frozen",
)
LATER_IN: Mapping[type[TrainingConfig], tuple[str, ...]] = {  # others had them from the start
    PPOConfig: ("responses_per_prompt",),
    PolicyConfig: ("shard_weights",),
    SupervisedConfig: ("schedule", "adam_beta1", "adam_beta2", "adam_epsilon", "train_on", "dropout", "number_type"),
}
NAME = re.compile(r"checkpoint-([0-9]+)")


class Checkpoints:
    """What one run, or one member of an ensemble, saves, and what earlier attempts at it left.

    Without a folder nothing is saved, and a pause is not heard.
    """

    def __init__(
        self,
        name: str,
        config: TrainingConfig,
        inputs: ResumableInputs,
        reporter: Reporter,
        number: int | None = None,
        team: Team = ALONE,
    ) -> None:
        self.name, self.config, self.inputs, self.reporter = name, config, inputs, reporter
        self.number = number  # of the member
        self.team = team
        self._saved, self._damaged = time.monotonic(), list[Path]()

    @classmethod
    def of(
        cls,
        stage: Stage | Baseline,
        config: TrainingConfig,
        inputs: ResumableInputs,
        reporter: Reporter,
        team: Team = ALONE,
    ) -> Checkpoints:
        """The checkpoints of the run that these settings and files make; `team` looks for and saves one together."""
        used = (inputs.checkpoints or inputs.resume_from) and team.first
        name = team.from_first(fingerprint(stage, config, inputs) if used else "")
        return cls(name, config, inputs, reporter, team=team)

    def member(self, number: int) -> Checkpoints:
        """Those of one member. Its last step is saved whatever the clock says: it is not trained again."""
        return Checkpoints(f"{self.name}/member-{number}", self.config, self.inputs, self.reporter, number)

    @property
    def folder(self) -> Path | None:
        """Where they are written; None: nowhere."""
        return self.inputs.checkpoints and self.inputs.checkpoints / self.name

    def newest(self) -> Path | None:
        """The whole one of the most steps, wherever an attempt left it; damaged ones are named and passed over."""
        return self.team.from_first(self._newest() if self.team.first else None)

    def _newest(self) -> Path | None:
        for found in sorted(self._found(), key=_step, reverse=True):
            try:
                verify(found)
            except (StageError, OSError) as error:
                cause = error.cause if isinstance(error, StageError) else str(error)
                said = Sentence(
                    "checkpoint-passed-over", "A damaged checkpoint was passed over: %(cause)s", cause=cause
                )
                self.reporter.note(said, level="warning")
                self._damaged.append(found)
                continue
            english = "Going on from %(name)s of %(folder)s."
            self.reporter.note(Sentence("going-on-from", english, name=found.name, folder=found.parent))
            return found
        if self._damaged:
            said = Sentence("no-checkpoint-whole", "No checkpoint of the run is whole: it begins anew.")
            self.reporter.note(said, level="warning")
        return None

    def pausing(self) -> bool:
        """Whether to save and stop at this step border."""
        return self.folder is not None and self.reporter.paused()

    def due(self, step: int, total: int) -> bool:
        """Whether to save at this step border, after `step` of `total` steps."""
        if self.folder is None:
            return False
        if self.number is not None and step == total:
            return True
        if self.config.save_every is not None:
            return step % self.config.save_every == 0
        return time.monotonic() - self._saved >= 60 * self.config.save_minutes

    @contextmanager
    def saving(self, step: int, total: int) -> Iterator[Path]:
        """A folder to fill, which becomes the checkpoint of `step`; older ones than the newest `KEPT` go.

        Raises DiskFull when it does not fit; the checkpoints before it stay whole.
        """
        home, began = self.folder, time.monotonic()
        assert home is not None, "only a run with a folder saves"
        partial, name = home / PARTIAL, f"checkpoint-{step}"
        shutil.rmtree(partial, ignore_errors=True)  # a kill may have left one
        self._make_room(home)
        try:
            (partial / name).mkdir(parents=True)
            yield partial / name
            shutil.rmtree(home / name, ignore_errors=True)  # damaged, else the run had gone on from it
            digest = publish(partial / name, home / name)
        except (OSError, RuntimeError, StageError, SafetensorError) as error:
            if not is_full(error):
                raise
            cause = Sentence("no-room-at", "No room to write %(home)s.", home=home / name)
            raise DiskFull(cause, Sentence("free-space-resume", "Free some disk space, then resume.")) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._prune(home, step)
        self._saved = time.monotonic()
        size = _size(home / name)
        taken = (self.number or 0) * total + step
        self.reporter.checkpoint(SavedCheckpoint(f"{self.name}/{name}", taken, digest, size, self._saved - began))

    def _found(self) -> Iterator[Path]:
        """Every checkpoint of this run below the folder to look in."""
        below = self.inputs.resume_from or self.inputs.checkpoints
        for root, folders, _ in os.walk(below) if below else ():
            if f"/{Path(root).as_posix()}".endswith(f"/{self.name}"):
                yield from (Path(root) / name for name in folders if NAME.fullmatch(name))

    def _make_room(self, home: Path) -> None:
        """Where there is no room for one more, all but the newest whole one go before it is written, not after."""
        names = (path for path in home.glob("*") if NAME.fullmatch(path.name) and path not in self._damaged)
        whole = sorted(names, key=_step)
        if whole and shutil.disk_usage(home).free < _size(whole[-1]):
            for path in whole[:-1]:
                shutil.rmtree(path, ignore_errors=True)

    def _prune(self, home: Path, step: int) -> None:
        """Of the checkpoints here up to `step` the newest are kept; one that was passed over goes."""
        names = [path for path in home.iterdir() if NAME.fullmatch(path.name)]
        older = sorted((path for path in names if _step(path) <= step), key=_step)[:-KEPT]
        for path in [*older, *(path for path in self._damaged if path.parent == home and _step(path) > step)]:
            shutil.rmtree(path, ignore_errors=True)


def fingerprint(stage: Stage | Baseline, config: TrainingConfig, inputs: ResumableInputs) -> str:
    """Stands for all that the weights come from: the stage, its settings, the content of its models and records."""
    files = {name: path for name, path in inputs if path and name not in ResumableInputs.model_fields}
    said = [FORMAT, stage, _settings(config), {n: _content(p) for n, p in files.items()}]
    return sha256_text(canonical_json(said))[:16]


def _settings(config: TrainingConfig) -> dict[str, Any]:
    """What the weights follow from. A setting that came later counts once it is set, so that older runs go on."""
    said: dict[str, Any] = config.model_dump(mode="json", exclude={*WHEN, "save_adapter"})
    if isinstance(config, RewardConfig):
        said["save_adapter"] = False  # no weight follows from it, but the first runs had it, and this was its default
    also = (path for kind, paths in LATER_IN.items() if isinstance(config, kind) for path in paths)
    for path in (*LATER, *also):
        *rooms, name = path.split(".")
        whole: Any = config
        holder = functools.reduce(lambda model, room: getattr(model, room, None), rooms, whole)
        fields = getattr(type(holder), "model_fields", {})
        if name in fields and getattr(holder, name) == fields[name].get_default(call_default_factory=True):
            del functools.reduce(lambda part, room: part[room], rooms, said)[name]
    return said


def _content(path: Path) -> Any:
    """A file's hash, or that of every file in a folder; a manifest says no more than those."""
    if path.is_file():
        return sha256_file(path)
    return {file.relative_to(path).as_posix(): sha256_file(file) for file in files_below(path)}


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _size(folder: Path) -> int:
    """Bytes of its files."""
    return sum(path.stat().st_size for path in files_below(folder))
