"""docs/reference.md, from the code: every variable, every setting of a stage, every command, every route.

    python -m tests.support.reference     writes it; `tests/test_docs.py` says when it is stale

Routes are read from the API's reviewed document, which a test of its own compares with the app.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import alignment.__main__
from alignment.shared.config import BASELINES, CONFIGS
from annotation_api.cli import command_line
from annotation_api.cli.parsers import Parser
from annotation_api.settings import PREFIX
from annotation_api.worker_settings import BESIDE, IN_FILES, WorkerSettings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference.md"
DOCUMENT = ROOT / "tests" / "annotation_api" / "openapi.json"
TITLE = """# Reference

Written by `python -m tests.support.reference` from the code; change it there. Every variable of the environment,
every setting of a stage, every command and every route. What they are for is told in [operations.md](operations.md),
[training.md](training.md) and [rest.md](rest.md)."""
FILES = "Each of `RANKLOOP_...` may lie in a file instead, which `RANKLOOP_..._FILE` names; not so {}."
SETTING = ("name", "may be", "default", "meaning")
CODES = """A command prints words, and with `--json` nothing but JSON, one value a line: a watched job gives its events,
an error is `{"error": ..., "problem": ...}`. What `backup -` says stands on standard error, beside the archive.
Without `--json` `import` prints its report as JSON, too, where standard output is no terminal; its words stand on
standard error."""
BOUNDS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}


# What libraries and shells read as well: who sets it chooses what a stage's process has.
LIBRARIES = {
    "OMP_NUM_THREADS": "Threads of a stage's products on the CPU; unset: its share of the cores.",
    "OMP_WAIT_POLICY": "Of `python -m alignment`: whether resting threads spin; unset: PASSIVE.",
    "CUDA_VISIBLE_DEVICES": "The GPUs that stages without Ray may use; empty: none.",
    "PYTORCH_ALLOC_CONF": "How torch takes a GPU's memory; a job with a share of a GPU adds its share.",
    "PYTORCH_CUDA_ALLOC_CONF": "The older name of the same.",
    "GLOO_SOCKET_IFNAME": "The network interface of processes that train together; unset: that of Ray.",
    "HF_HUB_DISABLE_TELEMETRY": "Whether libraries report to the hub; unset: they do not.",
}
OUR_OWN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "COMP_LINE")  # set by Ray, by us and by the shell


def page() -> str:
    variables = [*_rows_of(WorkerSettings, lambda name: f"{PREFIX}{name.upper()}"), *_beside()]
    parts = [TITLE, "## Variables", FILES.format(_read_plainly()), _table(SETTING, variables)]
    for stage, config in (CONFIGS | BASELINES).items():
        parts += [f"## Settings of {stage.value}", _settings(config)]
    for parser in (command_line._parser(), alignment.__main__._parser()):
        parts += [f"## {parser.prog}", *(_exits() if parser.prog == "rankloop" else ()), *_commands(parser)]
    return "\n\n".join([*parts, "## Routes", _routes(json.loads(DOCUMENT.read_text("utf-8")))]) + "\n"


def _read_plainly() -> str:
    *others, last = [f"`{PREFIX}{name}`" for name in BESIDE if name not in IN_FILES]
    return f"{', '.join(others)} and {last}"


def _beside() -> Iterator[tuple[str, ...]]:
    """The variables that are no settings of the service."""
    for name, meaning in ({PREFIX + name: text for name, text in BESIDE.items()} | LIBRARIES).items():
        yield f"`{name}`", "string", "", meaning


def _settings(model: type[BaseModel]) -> str:
    return _table(SETTING, _rows_of(model))


def _rows_of(model: type[BaseModel], named: Any = str) -> Iterator[tuple[str, ...]]:
    """A row a setting: name, what it may be, default, sentence."""
    schema = model.model_json_schema()
    for name, one in schema["properties"].items():
        yield f"`{named(name)}`", _allowed(one, schema), _default(one), one.get("description", "")


def _allowed(one: dict[str, Any], whole: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in one:
        return _allowed(whole["$defs"][one["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in one:
        return " or ".join(_allowed(each, whole) for each in one["anyOf"] if each.get("type") != "null")
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if "properties" in one:
        return "table of " + ", ".join(f"`{name}`" for name in one["properties"])
    return " ".join([one.get("type", "any"), *(says.format(one[key]) for key, says in BOUNDS.items() if key in one)])


def _default(one: dict[str, Any]) -> str:
    return f"`{json.dumps(one['default'])}`" if one.get("default") is not None else ""


def _commands(parser: argparse.ArgumentParser, text: str = "") -> Iterator[str]:
    """A section a command; those that only hold others have none."""
    if isinstance(parser, Parser):
        parser.complete()
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield f"### {parser.prog}"
        yield from filter(None, (_sentence(text), _arguments(parser)))
    for action in inner:
        said = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, command in action.choices.items():
            yield from _commands(command, said.get(name, ""))


def _exits() -> tuple[str, ...]:
    """What the exit codes of `rankloop` mean."""
    rows = ((f"`{code}`", meaning) for code, meaning in command_line.EXITS.items())
    return CODES, _table(("exit code", "meaning"), rows)


def _arguments(parser: argparse.ArgumentParser) -> str:
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    rows = ((f"`{_name(one)}`", _choices(one), _given(one), _sentence(one.help or "")) for one in actions)
    return _table(("argument", "may be", "default", "meaning"), rows) if actions else ""


def _name(action: argparse.Action) -> str:
    return ", ".join(action.option_strings) or str(action.metavar or action.dest)


def _choices(action: argparse.Action) -> str:
    return ", ".join(f"`{choice}`" for choice in action.choices or ())


def _given(action: argparse.Action) -> str:
    """The default; that of what is needed, or only switched on, says nothing."""
    nothing = action.required or action.default in (None, False, [], (), argparse.SUPPRESS)
    return "" if nothing else f"`{action.default}`"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _routes(document: dict[str, Any]) -> str:
    """Who may call stands at the end of each description; here in a column of its own."""
    rows = (
        (f"`{method.upper()} {path}`", ", ".join(one.get("x-roles", ())), _first_line(one))
        for path, methods in document["paths"].items()
        for method, one in methods.items()
    )
    return _table(("route", "roles", "what it does"), rows)


def _first_line(route: dict[str, Any]) -> str:
    """The first paragraph; where there is none but who may call, the route's name."""
    first: str = route.get("description", "").partition("\n\n")[0].replace("\n", " ")
    return first if first and not first.startswith("For ") else _sentence(route["summary"].lower())


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Columns in which nothing stands are left out."""
    filled = [row for row in zip(*[tuple(head), *map(tuple, rows)], strict=True) if any(row[1:])]
    first, *others = zip(*filled, strict=True)
    return "\n".join(map(_line, [first, ["---"] * len(first), *others]))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
