"""The parts of which `command_line` makes its parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from annotation_api.cli.client import Client

Command = Callable[[Client, argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """A parser some of whose options are made when it is called: what they are read from is loaded by no other."""

    options: Callable[[Parser], None] | None = None

    def complete(self) -> None:
        """Make the options that wait; once."""
        make, self.options = self.options, None
        if make:
            make(self)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        self.complete()
        return super().parse_known_args(args, namespace)


Sub = argparse._SubParsersAction  # what add_subparsers returns; argparse names it no other way


def client_command(commands: Sub[Parser], name: str, run: Command, text: str) -> Parser:
    """A command that talks to the service."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.set_defaults(run=run)
    return parser


def group(commands: Sub[Parser], name: str, text: str) -> Sub[Parser]:
    """A command that only holds others."""
    parser = commands.add_parser(name, help=text, description=text)
    return parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")


def values(kinds: type[StrEnum]) -> tuple[str, ...]:
    """What an option takes, in the order in which the service defines it."""
    return tuple(kind.value for kind in kinds)
