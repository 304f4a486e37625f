"""What runs as a job: a stage of the science, or work on data beside the stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alignment.shared import stages
from alignment.shared.config import InstructConfig, Stage
from alignment.shared.events import Reporter, StageResult
from alignment.shared.on_data.prepare import PrepareConfig


def run_job(
    stage: Stage, config: dict[str, Any], inputs: dict[str, Any], out_dir: Path, reporter: Reporter
) -> StageResult:
    """As `alignment.shared.stages.run`; a preparation is the workers' own."""
    if stage is Stage.INSTRUCT:
        return _instruct(config, inputs, out_dir, reporter)
    if stage is not Stage.PREPARE:
        return stages.run(stage, config, inputs, out_dir, reporter)
    from workers.preparation.work import prepare  # with its libraries, which no stage needs

    settings, files = PrepareConfig.model_validate(config), stages.PrepareInputs.model_validate(inputs)
    measure = None
    if files.tokenizer is not None:
        from workers.stage.policy import measure_of  # transformers: only where a tokenizer is asked for

        measure = measure_of(files.tokenizer)
    return prepare(settings, files, out_dir, reporter, measure)


def _instruct(config: dict[str, Any], inputs: dict[str, Any], out_dir: Path, reporter: Reporter) -> StageResult:
    from workers.instruct.endpoint import Endpoint
    from workers.instruct.work import instruct

    settings, files = InstructConfig.model_validate(config), stages.InstructInputs.model_validate(inputs)
    if files.teacher is not None:
        return instruct(settings, files, out_dir, reporter, Endpoint(files.teacher, settings))
    from workers.stage.policy import LocalPolicy  # torch: not where an endpoint answers

    return instruct(settings, files, out_dir, reporter, LocalPolicy(files, settings))
