"""The demo with PPO on GPUs that do not exist: a Ray head that says that it has them, and a process for each.

    python -m tests.support.runs.demo_on_gpus FOLDER [--gpus 2] [--seed 0] [--toy WORLD]

WORLD: what `python -m alignment toy` has left, base model and all, which is then not made again. Exits as
`rankloop demo` does: 0 where the policy is aligned. The last line is what two runs are compared by.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from annotation_api.demo import run
from annotation_api.settings import Settings
from tests.support.ray_head import Head


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--toy", type=Path)
    args = parser.parse_args()
    with Head(gpus=args.gpus) as head:
        os.environ.update(head.environment | {"RANKLOOP_EXECUTOR": "ray"})
        run.Settings = functools.partial(Settings, ray_address=head.address)  # type: ignore[misc, assignment]
        run.Engineer.post = _on(args.gpus, run.Engineer.post)  # type: ignore[method-assign]
        if args.toy:
            run.start_module = functools.partial(_there, args.toy)
        code = run.main(args.folder, args.seed)
    report = json.loads((args.folder / "report.json").read_text())
    names = ("win_rate", "kl_to_sft", "gold", "stages", "wall_seconds")
    print(
        json.dumps({"gpus": args.gpus, "load": round(os.getloadavg()[0], 2)} | {name: report[name] for name in names})
    )
    sys.exit(code)


def _there(toy: Path, _module: str, _command: str, folder: str, *_: str, log: Path) -> subprocess.Popen[bytes]:
    """A world with its base model, in place of the process that makes one."""
    shutil.copytree(toy, folder)
    log.touch()
    return subprocess.Popen(["true"])


def _on(gpus: int, own: Any) -> Any:
    def post(self: run.Engineer, path: str, body: Any = None) -> Any:
        more = {"gpus": gpus} if path == "/v1/jobs" and body["stage"] == "ppo" else {}
        return own(self, path, body | more if more else body)

    return post


if __name__ == "__main__":
    main()
