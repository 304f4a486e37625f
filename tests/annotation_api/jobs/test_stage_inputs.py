"""One table says what a stage takes (`alignment.shared.stages`); request, command line and worker read it."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

from alignment.shared.config import Stage
from alignment.shared.stages import INPUTS, data_of, inputs_of, main_data
from annotation_api.jobs.schemas import JOBS


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_works_through_one_kind_of_data(stage: Stage) -> None:
    assert [name for name, kind in data_of(stage).items() if kind.main] == [main_data(stage)]
    assert inputs_of(stage)[main_data(stage)].required


@pytest.mark.parametrize("stage", Stage)
def test_a_request_takes_what_the_table_names(stage: Stage) -> None:
    asked = JOBS[stage].model_fields["inputs"].annotation
    fields = {name: field.is_required() for name, field in asked.model_fields.items()}  # type: ignore[union-attr]
    assert fields == {name: one.required for name, one in inputs_of(stage).items()}
    assert fields.keys() - {"project"} <= INPUTS[stage].model_fields.keys()


def test_a_new_input_is_known_everywhere_by_its_line_in_the_table() -> None:
    """In a process of its own, because the table is read once."""
    script = """
        from pathlib import Path
        from typing import Annotated
        from pydantic import Field
        from alignment.shared import stages
        from alignment.shared.config import Stage
        from alignment.shared.records import Ranking

        class More(stages.SFTInputs):
            hints: Annotated[Path | None, stages.DataInput(Ranking)] = Field(default=None, description="Made up.")

        stages.INPUTS[Stage.SFT] = More

        from annotation_api.cli.command_line import _parser
        from annotation_api.jobs.schemas import JOBS
        from workers.attempt.inputs import data_of

        key = "00000000-0000-0000-0000-000000000001"
        inputs = {"model": {"model": key}, "demonstrations": {"dataset": key}, "hints": {"dataset": key}}
        job = JOBS[Stage.SFT].model_validate({"stage": "sft", "inputs": inputs})
        assert str(job.inputs.hints.dataset) == key
        args = _parser().parse_args(["jobs", "create", "sft", "--model", "m", "--data", key, "--hints", key])
        assert args.hints == key
        assert data_of(Stage.SFT)["hints"].of is Ranking
    """
    subprocess.run([sys.executable, "-c", dedent(script)], check=True)
