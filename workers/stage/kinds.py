"""What runs as a job: a stage of the science, or work on data beside the stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alignment.shared import stages
from alignment.shared.config import PrepareConfig, Stage
from alignment.shared.events import Reporter, StageResult


def run_job(
    stage: Stage, config: dict[str, Any], inputs: dict[str, Any], out_dir: Path, reporter: Reporter
) -> StageResult:
    """As `alignment.shared.stages.run`; a preparation is the workers' own."""
    if stage is not Stage.PREPARE:
        return stages.run(stage, config, inputs, out_dir, reporter)
    from workers.preparation.work import prepare  # with its libraries, which no stage needs

    settings, files = PrepareConfig.model_validate(config), stages.PrepareInputs.model_validate(inputs)
    return prepare(settings, files, out_dir, reporter)
