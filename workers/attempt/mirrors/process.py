"""The process of one mirror: lines of JSON from its launcher, told to a tracker by the tracker's own client.

    python -m workers.attempt.mirrors.process mlflow|tensorboard|wandb

The first line begins the run, the last one ends it. It yields the processor to whoever else wants it. A tracker that
refuses ends this process, with one sentence on standard error, which is the attempt's log.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from collections.abc import Iterator
from typing import Any, Protocol

NICE = 10
PACKAGES = {"mlflow": "mlflow-skinny", "tensorboard": "tensorboard", "wandb": "wandb"}


class Tracker(Protocol):
    """What every tracker can be told."""

    def metrics(self, phase: str, step: int, values: dict[str, float]) -> None: ...

    def end(self, state: str, values: dict[str, float], files: list[dict[str, Any]]) -> None: ...


def main(kind: str) -> int:
    if hasattr(os, "nice"):
        os.nice(NICE)
    lines = (json.loads(line) for line in sys.stdin)
    try:
        _tell(kind, lines)
    except ModuleNotFoundError as error:
        print(f"mirror to {kind}: {error}; install {PACKAGES[kind]} (the extra `mirrors`).", file=sys.stderr)
        return 2
    except Exception as error:  # whatever a client raises is the end of the mirror, never of the job
        print(f"mirror to {kind}: {type(error).__name__}: {str(error)[:500]}", file=sys.stderr)
        return 1
    return 0


def _tell(kind: str, lines: Iterator[dict[str, Any]]) -> None:
    tracker: Tracker = importlib.import_module(f"workers.attempt.mirrors.to_{kind}").begin(next(lines))
    for line in lines:
        values = {name: value for name, value in line["metrics"].items() if _is_number(value)}
        if line["type"] == "metrics":
            tracker.metrics(line["phase"], line["step"], values)
        else:
            tracker.end(line["state"], values, line["files"])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
