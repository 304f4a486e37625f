"""The parts of which `command_line` makes its parser."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from importlib.metadata import version
from typing import Any, NoReturn

from annotation_api.cli.client import Client

MOST_PORT = 65_535
HOST = re.compile(r"[\w.-]*\w\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\w+)?")  # a name or IPv4; IPv6
WRONG_CHOICE = re.compile(r"invalid choice: '(.*?)' \(choose from (.*)\)")
LONGEST_PART = 63  # characters between two dots of a name
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

    def error(self, message: str) -> NoReturn:
        """As argparse says it, with the command that was probably meant, or where commands are listed."""
        if found := WRONG_CHOICE.search(message):
            near = difflib.get_close_matches(found[1], re.findall(r"[\w-]+", found[2]), n=1)
            message += f"; did you mean {near[0]!r}?" if near else ""
        elif message.endswith("COMMAND"):
            message += f"; `{self.prog} --help` lists them"
        super().error(message)


class ShowVersion(argparse.Action):
    """Looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_given: Any) -> NoReturn:
        parser.exit(message=f"rankloop {version('rankloop')}\n")


Sub = argparse._SubParsersAction  # what add_subparsers returns; argparse names it no other way


def command(commands: Sub[Parser], name: str, text: str) -> Parser:
    """A command whose help begins with what the list of commands says of it."""
    return commands.add_parser(name, help=text, description=text)


def client_command(commands: Sub[Parser], name: str, run: Command, text: str) -> Parser:
    """A command that talks to the service."""
    parser = command(commands, name, text)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.set_defaults(run=run)
    return parser


def group(commands: Sub[Parser], name: str, text: str) -> Sub[Parser]:
    """A command that only holds others."""
    parser = command(commands, name, text)
    return parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")


def listens(parser: Parser) -> None:
    """Where the API listens."""
    parser.add_argument("--host", type=host, default="127.0.0.1", help="a name or an address of this machine")
    parser.add_argument("--port", type=port, default=8000, help="0 to 65535; 0: one that is free")


def port(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text[:6]) <= MOST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; write a number from 0 to {MOST_PORT}, 0 for a free one")


def host(text: str) -> str:
    """A host name or an address, as far as that shows in the text."""
    if HOST.fullmatch(text) and not any(len(part) > LONGEST_PART for part in text.split(".")):
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r} is no host; write a name or an address alone, such as 127.0.0.1, ::1 or rank.example.org"
    )


def values(kinds: type[StrEnum]) -> tuple[str, ...]:
    """What an option takes, in the order in which the service defines it."""
    return tuple(kind.value for kind in kinds)
