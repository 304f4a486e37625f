"""What a shell offers when tab is pressed: commands and options, and the names of jobs, models and data.

    eval "$(rankloop completion bash)"        # or zsh, fish

The shell calls `rankloop` itself with what stands on the line so far (argcomplete); names come from the service.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from annotation_api.cli.client import Client, ClientError, find_credentials
from annotation_api.cli.parsers import Parser

SHELLS = ("bash", "zsh", "fish")
ASKED = "_ARGCOMPLETE"  # in the environment when the shell asks
LISTS = {"DATA": "datasets"} | {  # by what an argument is
    word: f"{word.lower()}s" for word in ("JOB", "PIPELINE", "MODEL", "DATASET", "SNAPSHOT", "PROJECT")
}
NEWEST = 200  # things of a list whose names are offered


def script(args: argparse.Namespace) -> int:
    """Print what the shell has to read."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["rankloop"], shell=args.shell))
    return 0


def offer(parser: argparse.ArgumentParser, **where: Any) -> None:
    """Answer the shell and end the process, if it is the shell that called."""
    if ASKED not in os.environ:
        return
    import argcomplete

    _complete(parser, os.environ.get("COMP_LINE", "").split())
    argcomplete.autocomplete(parser, default_completer=names, always_complete_options="long", **where)  # type: ignore[arg-type]


def _complete(parser: argparse.ArgumentParser, line: list[str]) -> None:
    """Make the options that wait, of the commands on the line: argcomplete takes note of all before it parses."""
    if isinstance(parser, Parser):
        parser.complete()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name in action.choices.keys() & set(line):
                _complete(action.choices[name], line)


def names(prefix: str, action: argparse.Action, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Of the things that the argument takes, those that begin so; nothing where the service is away."""
    what = str(action.metavar)
    if what == "THING":  # of `rankloop label`
        what = str(getattr(parsed_args, "kind", "")).upper()
    things = "models" if getattr(parsed_args, "models", False) else LISTS.get(what)
    if things is None:
        return []
    try:
        rows = Client(find_credentials()).get(f"/v1/{things}", limit=NEWEST)["items"]
    except ClientError as error:
        from argcomplete.io import warn

        warn(str(error))
        return []
    return sorted({row["name"] for row in rows if row.get("name") and row["name"].startswith(prefix)})
