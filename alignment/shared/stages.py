"""One door to the stages, and the one table of what they take.

The classes below are that table: a field is an input, its mark says of which kind, its default whether it can be
left out. REST, command line, freezing and worker read it with `inputs_of`; the stage gets the class itself. A new
input is a field here, the lines of its stage that read it, and a test.

The CLI (`python -m alignment`) and the Ray actor both call `run`. The stage module is imported inside it, so that a
wrong config is refused in milliseconds.
"""

from __future__ import annotations

import errno
import functools
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

from pydantic import Field, SecretStr

from alignment.shared.config import Baseline, Stage, StageSettings, config_class
from alignment.shared.errors import BadInput
from alignment.shared.events import Reporter, StageResult
from alignment.shared.gpus import NOTHING_SHARED
from alignment.shared.records import Answers, Demonstration, Prompt, Ranking, Record, RuleVerdict
from alignment.shared.sentence import Sentence

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)  # no other try helps


@dataclass(frozen=True)
class ModelInput:
    """Marks the folder of a model."""

    scores: bool = False  # a reward model; else one that writes text
    relation: str = "start"  # what it is to the model that the stage makes


@dataclass(frozen=True)
class DataInput:
    """Marks a JSONL file of one kind of record."""

    of: type[Record]
    main: bool = False  # the data that the stage works through: its rows are counted, its model descends from them
    along: bool = False  # comes with the main data where these are a project's, unless it is named


@dataclass(frozen=True)
class ProjectInput:
    """Marks where people go on with what a stage wrote. The stage itself never sees it."""


class ResumableInputs(StageSettings):
    """What a stage that can be killed and started again takes beside its models and records."""

    checkpoints: Path | None = None  # a folder that outlives the attempt, made if need be: checkpoints go there
    resume_from: Path | None = None  # below it, at any depth, the newest whole checkpoint of the same settings and
    # data is looked for; unset: in `checkpoints`


class SFTInputs(ResumableInputs):
    model: Annotated[Path, ModelInput()] = Field(description="A base, SFT or policy model.")
    demonstrations: Annotated[Path, DataInput(Demonstration, main=True)] = Field(
        description="Demonstrations or conversations."
    )


class SampleInputs(StageSettings):
    """`models`: name in the output -> folder."""

    models: Annotated[dict[str, Path], ModelInput()] = Field(description="Who answers.")
    prompts: Annotated[Path, DataInput(Prompt, main=True)] = Field(
        description="Data of any kind; each of their prompts is answered once."
    )


class RewardInputs(ResumableInputs):
    model: Annotated[Path, ModelInput()] = Field(description="Usually the SFT model.")
    rankings: Annotated[Path, DataInput(Ranking, main=True)] = Field(
        description="Preferences or rankings. A project also gives its answers and verdicts, if it has any."
    )
    answers: Annotated[Path | None, DataInput(Answers, along=True)] = Field(
        default=None, description="What annotators said of single responses or of pairs."
    )
    verdicts: Annotated[Path | None, DataInput(RuleVerdict, along=True)] = Field(
        default=None, description="Which responses broke a rule."
    )
    samples: Path | None = None  # JSONL of records.Demonstration: what a policy wrote; the report says how new it is


class PPOInputs(ResumableInputs):
    model: Annotated[Path, ModelInput()] = Field(
        description="The SFT model: where the policy starts and what the KL is measured to."
    )
    reward_model: Annotated[Path, ModelInput(scores=True, relation="reward_model")]
    prompts: Annotated[Path, DataInput(Prompt, main=True)] = Field(
        description="Data of any kind; the policy learns on their prompts."
    )
    pretraining: Annotated[Path | None, DataInput(Demonstration)] = Field(
        default=None, description="Demonstrations that the policy must not forget; needed where `ptx_coef` is above 0."
    )


class PrepareInputs(StageSettings):
    records: Annotated[Path, DataInput(Record, main=True)] = Field(
        description="A data set, or a snapshot, of any kind but answers and verdicts."
    )
    evaluation: Annotated[Path | None, DataInput(Prompt)] = Field(
        default=None, description="Prompts that models are judged by: records that ask the same are left out."
    )
    against: Annotated[Path | None, DataInput(Record)] = Field(
        default=None, description="Other data: records that are in it, too, are left out."
    )
    tokenizer: Annotated[Path | None, ModelInput()] = Field(
        default=None, description="A model whose tokenizer says how long the records are for it."
    )


class Teacher(StageSettings):
    """An endpoint that speaks OpenAI's chat completions; the launcher fills it in from the service's settings."""

    url: str
    key: SecretStr | None = None


class InstructInputs(ResumableInputs):
    seeds: Annotated[Path, DataInput(Demonstration, main=True)] = Field(
        description="Demonstrations that show what instructions are wanted."
    )
    model: Annotated[Path | None, ModelInput()] = Field(
        default=None, description="Who answers; unset: the endpoint that the setting teacher names."
    )
    teacher: Teacher | None = None  # of an attempt: where the endpoint is, and its key


INPUTS: dict[Stage | Baseline, type[StageSettings]] = {
    Stage.SFT: SFTInputs,
    Stage.SAMPLE: SampleInputs,
    Stage.REWARD: RewardInputs,
    Stage.PPO: PPOInputs,
    Stage.PREPARE: PrepareInputs,
    Stage.INSTRUCT: InstructInputs,
    Baseline.RLOO: PPOInputs,
    Baseline.BEST_OF_N: PPOInputs,
}
PROJECTS: dict[Stage, str] = {
    Stage.SAMPLE: "Where the answers become tasks; unset: only a file.",
    Stage.PPO: "Where people compare the policy's held-out replies with the SFT policy's, at each evaluation; unset: "
    "nobody does.",
}
MODULES: dict[Stage | Baseline, str] = {
    Stage.SFT: "alignment.sft",
    Stage.SAMPLE: "alignment.sample",
    Stage.REWARD: "alignment.reward.stage",
    Stage.PPO: "alignment.ppo.stage",
    Baseline.RLOO: "alignment.ppo.baselines.rloo",
    Baseline.BEST_OF_N: "alignment.ppo.baselines.best_of_n",
}


@dataclass(frozen=True)
class Input:
    """One input of a stage that a job can have. What bears no mark above is for run files and attempts alone."""

    kind: ModelInput | DataInput | ProjectInput
    several: bool
    required: bool
    description: str | None


@functools.cache
def inputs_of(stage: Stage) -> Mapping[str, Input]:
    """The stage's inputs by name, in the table's order."""
    found = {}
    for name, field in INPUTS[stage].model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, ModelInput | DataInput):
                several = field.annotation == dict[str, Path]
                found[name] = Input(mark, several, field.is_required(), field.description)
    if stage in PROJECTS:
        found["project"] = Input(ProjectInput(), False, False, PROJECTS[stage])
    return found


def data_of(stage: Stage) -> Mapping[str, DataInput]:
    """Those of its inputs that are records."""
    return {name: asked.kind for name, asked in inputs_of(stage).items() if isinstance(asked.kind, DataInput)}


def main_data(stage: Stage) -> str:
    """The name of the data that the stage works through."""
    return next(name for name, kind in data_of(stage).items() if kind.main)


def along(stage: Stage) -> Mapping[str, type[Record]]:
    """What comes along with the main data, by the input's name."""
    return {name: kind.of for name, kind in data_of(stage).items() if kind.along}


@functools.cache
def relations() -> Mapping[str, str]:
    """What each model among the inputs of any stage is to what the stage makes, by the input's name."""
    kinds = {name: asked.kind for stage in Stage for name, asked in inputs_of(stage).items()}
    return {name: kind.relation for name, kind in kinds.items() if isinstance(kind, ModelInput)}


def run(
    stage: Stage | Baseline, config: dict[str, Any], inputs: dict[str, Any], out_dir: Path, reporter: Reporter
) -> StageResult:
    """Check settings and inputs, then run the stage into the empty folder `out_dir`.

    Every stage module has `train(config, inputs, out_dir, reporter) -> StageResult`.
    Raises pydantic.ValidationError for a bad setting, StageError for what fails later, and Paused where a stage
    with a folder for checkpoints was asked to pause: `out_dir` is then of no use.
    """
    settings = config_class(stage).model_validate(config)
    files = INPUTS[stage].model_validate(inputs)
    if isinstance(files, ResumableInputs) and files.checkpoints is not None:
        _make(files.checkpoints)
    for name, value in files:
        for path in value.values() if isinstance(value, dict) else [value]:
            if path is not None and not path.exists():
                raise BadInput(
                    Sentence("path-missing", "%(name)s: %(path)s does not exist.", name=name, path=path),
                    Sentence("check-path", "Check the path."),
                )
    out_dir.mkdir(parents=True, exist_ok=True)
    if getattr(settings, "shard_weights", False) and os.environ.get("WORLD_SIZE", "1") == "1":
        reporter.note(NOTHING_SHARED)
    module = importlib.import_module(MODULES[stage])
    result: StageResult = module.train(settings, files, out_dir, reporter)
    return result


def _make(folder: Path) -> None:
    """The folder for checkpoints. BadInput where nothing can be written there, before anything is trained in vain."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        english = "Checkpoints cannot be written to %(folder)s: %(why)s."
        cause = Sentence("checkpoints-unwritable", english, folder=folder, why=error.strerror)
        raise BadInput(cause, Sentence("writable-folder", "Name a folder that can be written.")) from error
