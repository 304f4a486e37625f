"""A job's inputs as options of the command line, by the table of `alignment.shared.stages`.

`--model` names what a stage starts from, `--data` what it works through; every other input has an option of its name.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alignment.shared.stage_names import ON_DATA, Stage
from alignment.shared.stages import DataInput, Input, ModelInput, inputs_of, main_data
from annotation_api.cli.client import Client, ClientError
from annotation_api.cli.references import data_ref, model_ref, project_id, start_model

STARTED = tuple(stage for stage in Stage if stage not in ON_DATA)  # those that start from a model
START = "start"  # the relation of the model that --model names


@dataclass(frozen=True)
class InputOption:
    """An input that only some stages have."""

    asked: Input
    stages: tuple[Stage, ...]

    @property
    def is_model(self) -> bool:
        return isinstance(self.asked.kind, ModelInput)

    @property
    def help(self) -> str:
        text = self.asked.description or ""
        what = "id, job:ID or alias:NAME" if self.is_model else text[:1].lower() + text[1:].rstrip(".")
        return f"for {', '.join(self.stages)}: {what}"


def add_options(parser: ArgumentParser) -> None:
    """The models first, then the data."""
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="MODEL",
        help="id or name, job:ID, alias:NAME, folder or hub id",
    )
    for name, option in _options(models=True).items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="MODEL", help=option.help)
    parser.add_argument("--data", required=True, metavar="DATA", help="data set, snapshot:ID or project:ID; names, too")
    for name, option in _options(models=False).items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="DATA", help=option.help)
    parser.add_argument("--project", metavar="PROJECT", help="for sample, ppo: where responses become tasks to rank")


def _options(*, models: bool) -> Mapping[str, InputOption]:
    found: dict[str, InputOption] = {}
    for stage in STARTED:
        for name, asked in inputs_of(stage).items():
            if _has_own(asked):
                users = found[name].stages if name in found else ()
                found[name] = InputOption(asked, (*users, stage))
    return {name: option for name, option in found.items() if option.is_model == models}


def _has_own(asked: Input) -> bool:
    match asked.kind:
        case ModelInput(relation=relation):
            return relation != START
        case DataInput(main=main):
            return not main
    return False


def inputs(client: Client, args: Namespace) -> dict[str, Any]:
    """The inputs of a request; a folder or hub id as --model is registered last, when all else is known to be there."""
    stage = Stage(args.stage)
    given: dict[str, Any] = {main_data(stage): data_ref(client, args.data)}
    given |= {name: data_ref(client, text) for name in _options(models=False) if (text := getattr(args, name))}
    given |= {name: model_ref(client, text) for name in _options(models=True) if (text := getattr(args, name))}
    given |= {"project": project_id(client, args.project)} if args.project else {}
    name, start = next((name, one) for name, one in inputs_of(stage).items() if _is_start(one))
    if len(args.model) > 1 and not start.several:
        raise ClientError(f"{stage} starts from one model, {len(args.model)} were given; name --model once.")
    models = [start_model(client, text, new=not args.validate) for text in args.model]
    return given | {name: models if start.several else models[0]}


def _is_start(asked: Input) -> bool:
    return isinstance(asked.kind, ModelInput) and asked.kind.relation == START
