"""Runs an SFT stage on each folder named in argv[2:], and says what each did: argv[1] is the folder to work in.

A process of its own, since what is watched with an audit hook is watched for ever. Prints one JSON line a folder:
how the stage ended, and what Python opened, started, connected to or imported from elsewhere meanwhile.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from alignment.shared import stages
from alignment.shared.config import SFTConfig
from alignment.shared.errors import StageError
from alignment.shared.events import NullReporter

HOME = Path(sys.argv[1])
OURS = [
    sys.prefix,
    sys.base_prefix,
    str(Path(stages.__file__).parents[1]),
    "/proc/",
    "/sys/",
    "/dev/null",
    "/dev/urandom",
]
LISTS = ("open", "os.listdir", "os.scandir", "os.link", "os.rename", "os.truncate", "os.mkdir")
STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "socket.connect",
    "pickle.find_class",
)
seen: list[str] = []
allowed: list[str] = []


def watch(event: str, args: tuple[Any, ...]) -> None:
    if event in STARTS:
        seen.append(f"{event} {args[:2]!r}")
    elif event in LISTS and isinstance(args[0], str | bytes | os.PathLike):
        path = os.path.abspath(os.fsdecode(args[0]))
        if not path.startswith(tuple(allowed)):
            seen.append(f"{event} {path}")


def run(folder: Path) -> str:
    out = HOME / "out" / folder.name
    out.mkdir(parents=True)
    inputs = {"model": folder, "demonstrations": HOME / "demonstrations.jsonl"}
    config = SFTConfig(max_length=32, batch_size=4, micro_batch_size=4, epochs=1.0)
    try:
        stages.run("sft", config.model_dump(mode="json"), inputs, out, NullReporter())
    except StageError as error:
        return f"{type(error).__name__}: {error}"
    return "trained"


def main() -> None:
    tempfile.tempdir = str(HOME / "views")
    Path(tempfile.tempdir).mkdir()
    run(HOME / "sound")  # every import that a stage needs is done before anything is watched
    sys.addaudithook(watch)
    for name in sys.argv[2:]:
        folder = Path(name)
        allowed[:] = [*OURS, f"{folder}/", str(folder), tempfile.tempdir, str(HOME / "out"), str(HOME / "demon")]
        seen.clear()
        ended = run(folder)
        print(json.dumps({"folder": folder.name, "ended": ended, "seen": list(seen)}), flush=True)


main()
