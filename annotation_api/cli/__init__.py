"""`rankloop`: the command line."""

from annotation_api.cli.command_line import main

__all__ = ["main"]
