"""Any stage from a TOML file, without services; and the toy world with its base model.

    python -m alignment sft|sample|reward|ppo|rloo|best-of-n run.toml [--out DIR]
    python -m alignment toy DIR --seed 0
    python -m alignment check FOLDER
    python -m alignment convert FOLDER NEW_FOLDER

A run file holds `preset` (optional), `[inputs]` (paths, from the working directory) and `[config]` (on
top of the preset). All of it is checked before a model library is loaded. The result folder appears
whole, or not at all. With `checkpoints` among the inputs, the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from alignment.shared import stages
from alignment.shared.artifact import publish, write_result
from alignment.shared.config import Baseline, BaseModelConfig, Stage, StageSettings, config_class, load_preset
from alignment.shared.errors import BadInput, StageError
from alignment.shared.events import Paused, StageResult
from alignment.shared.sentence import parts
from alignment.shared.validation import sentences
from alignment.terminal import TerminalReporter
from alignment.toyworld import world as toyworld
from alignment.untrusted.texts import shown

COMMANDS: tuple[Stage | Baseline, ...] = tuple(stages.MODULES)  # what this package does itself


class RunFile(StageSettings):
    """What a run's TOML file may hold."""

    preset: str | None = None
    inputs: dict[str, Any]
    config: dict[str, Any] = Field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when its result folder stands, else 1 (130 after Ctrl-C) and one clear sentence."""
    options = _parser().parse_args(arguments)
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve each other on a busy machine
    try:
        folder = COMMANDS_BESIDE.get(options.command, _stage)(options)
    except StageError as error:
        return _failed(options, str(error), 1)
    except Paused as paused:
        print(f"{paused} The same command goes on from there.", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        return _failed(options, "Interrupted; nothing was published.", 130)
    print(shown(str(folder)))  # a path, or what a command found in a stranger's folder
    return 0


def _failed(options: argparse.Namespace, reason: str, code: int) -> int:
    if getattr(options, "json", False):
        print(shown(json.dumps({"error": reason}, ensure_ascii=False)))
    else:
        print(shown(f"error: {reason}"), file=sys.stderr)
    return code


def read_run(path: Path, stage: Stage | Baseline) -> tuple[StageSettings, StageSettings]:
    """A run file's settings and inputs, checked. Raises BadInput that names what is wrong."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        model: type[StageSettings] = RunFile
        run = RunFile.model_validate(tables)
        model = config_class(stage)
        settings = load_preset(run.preset, stage, run.config) if run.preset else model.model_validate(run.config)
        model = stages.INPUTS[stage]
        return settings, model.model_validate(run.inputs)
    except ValidationError as error:
        raise BadInput(f"{path}: {sentences(error, model)}") from error
    except (OSError, ValueError) as error:  # no such file, no TOML, no such preset
        raise BadInput(f"{path}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m alignment", description="One stage, without services.")
    commands = parser.add_subparsers(dest="command", required=True)
    for stage in COMMANDS:
        command = commands.add_parser(stage.value, help=f"run the {stage.value} stage")
        command.add_argument("file", type=Path, help="TOML file with [inputs] and [config]")
        command.add_argument("--out", type=Path, default=Path("runs") / stage.value, help="result folder, must be new")
    toy = commands.add_parser("toy", help="write a toy world and train its base model")
    toy.add_argument("folder", type=Path, help="gets the world's files, and the model in base/")
    toy.add_argument("--seed", type=int, default=0, help="seeds the world and the model")
    checks = commands.add_parser("check", help="what a model folder is, and whether each stage can use it")
    checks.add_argument("folder", type=Path)
    checks.add_argument("--json", action="store_true", help="as JSON")
    checks.add_argument("--said", action="store_true", help="as JSON in which sentences keep their codes")
    converts = commands.add_parser("convert", help="pickled weights to safetensors, in a process with limits")
    converts.add_argument("folder", type=Path)
    converts.add_argument("out", type=Path, help="result folder, must be new")
    converts.add_argument("--json", action="store_true", help="as JSON")
    toy.add_argument("--steps", type=int, default=BaseModelConfig().steps, help="pretraining steps")
    return parser


def _stage(options: argparse.Namespace) -> Path:
    """One stage from its run file into `--out`."""
    stage, out = next(stage for stage in COMMANDS if stage.value == options.command), options.out
    settings, inputs = read_run(options.file, stage)
    config = settings.model_dump(mode="json")
    saves = isinstance(inputs, stages.ResumableInputs) and inputs.checkpoints is not None
    with TerminalReporter(pauses=saves) as reporter:
        return _make(out, config, lambda folder: stages.run(stage, config, inputs.model_dump(), folder, reporter))


def _toy(options: argparse.Namespace) -> Path:
    """The world's files, and its base model beside them in `base`."""
    try:
        config = BaseModelConfig(seed=options.seed, steps=options.steps)
    except ValidationError as error:
        raise BadInput(sentences(error, BaseModelConfig)) from error
    with TerminalReporter() as reporter:

        def work(folder: Path) -> StageResult:
            from alignment.toyworld.base_model import train_base_model  # torch: only now that the options are valid

            world = toyworld.build_world(options.seed)
            toyworld.write_world(world, options.folder)
            return train_base_model(world.corpus(), config, folder, reporter)

        return _make(options.folder / "base", config.model_dump(mode="json"), work)


def _check(options: argparse.Namespace) -> str:
    from alignment.models.check import check  # torch: only where it is needed

    if options.said:
        return json.dumps(_said(lambda: check(options.folder).said()), ensure_ascii=False)
    found = check(options.folder)
    return json.dumps({**found.facts, "notes": found.notes}, ensure_ascii=False) if options.json else str(found)


def _said(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What came of it, or why it was refused; for who shows it in a language of their own."""
    try:
        return work()
    except StageError as error:
        return {"refused": [parts(error.cause), parts(error.next_step)]}


def _convert(options: argparse.Namespace) -> Path | str:
    from alignment.models.convert import convert

    folder = convert(options.folder, options.out)
    return json.dumps({"folder": str(folder)}, ensure_ascii=False) if options.json else folder


COMMANDS_BESIDE: dict[str, Callable[[argparse.Namespace], Path | str]] = {
    "toy": _toy,
    "check": _check,
    "convert": _convert,
}


def _make(out: Path, config: dict[str, Any], work: Callable[[Path], StageResult]) -> Path:
    """Let `work` fill a staging folder, add result.json and publish it as `out`; on failure nothing stays."""
    if out.exists():
        raise BadInput(f"{out} exists already and is never overwritten.", "Choose a new folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        result = work(staging)
        write_result(staging, config, result)
        publish(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return out


if __name__ == "__main__":
    sys.exit(main())
