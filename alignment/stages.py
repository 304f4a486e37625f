"""One door to the stages: names of inputs as files, checked before any model library is loaded.

The CLI (`python -m alignment`) and the Ray actor both call `run`. The stage module is imported
inside it, so that a wrong config is refused in milliseconds.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from alignment.config import Baseline, Settings, Stage, config_class
from alignment.events import ErrorKind, Reporter, StageError, StageResult


class ResumableInputs(Settings):
    """What a stage that can be killed and started again takes beside its models and records."""

    checkpoints: Path | None = None  # a folder that outlives the attempt, made if need be: checkpoints go there
    resume_from: Path | None = None  # below it, at any depth, the newest whole checkpoint of the same settings and
    # data is looked for; unset: in `checkpoints`


class SFTInputs(ResumableInputs):
    model: Path  # folder of a causal language model with its tokenizer
    demonstrations: Path  # JSONL of records.Demonstration


class SampleInputs(Settings):
    models: dict[str, Path]  # name in the output -> model folder
    prompts: Path  # JSONL of records.Prompt


class RewardInputs(ResumableInputs):
    model: Path  # usually the SFT model
    rankings: Path  # JSONL of records.Ranking
    answers: Path | None = None  # JSONL of records.Answers
    verdicts: Path | None = None  # JSONL of records.Verdict
    samples: Path | None = None  # JSONL of records.Demonstration: what a policy wrote; the report says how new it is


class PPOInputs(ResumableInputs):
    model: Path  # the SFT model: start of the policy and frozen reference
    reward_model: Path
    prompts: Path  # JSONL of records.Prompt
    pretraining: Path | None = None  # JSONL of records.Demonstration: what the policy must not forget (ptx_coef)


INPUTS: dict[Stage | Baseline, type[Settings]] = {
    Stage.SFT: SFTInputs,
    Stage.SAMPLE: SampleInputs,
    Stage.REWARD: RewardInputs,
    Stage.PPO: PPOInputs,
    Baseline.RLOO: PPOInputs,
    Baseline.BEST_OF_N: PPOInputs,
}
MODULES: dict[Stage | Baseline, str] = {
    Stage.SFT: "alignment.sft",
    Stage.SAMPLE: "alignment.generation",
    Stage.REWARD: "alignment.reward",
    Stage.PPO: "alignment.ppo",
    Baseline.RLOO: "alignment.rloo",
    Baseline.BEST_OF_N: "alignment.best_of_n",
}


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
        files.checkpoints.mkdir(parents=True, exist_ok=True)
    for name, value in files:
        for path in value.values() if isinstance(value, dict) else [value]:
            if path is not None and not path.exists():
                raise StageError(ErrorKind.BAD_INPUT, f"{name}: {path} does not exist.", "Check the path.")
    out_dir.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(MODULES[stage])
    result: StageResult = module.train(settings, files, out_dir, reporter)
    return result
