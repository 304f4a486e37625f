"""What a machine with a GPU shows of this project, in minutes: every check a row, flushed as it ends.

    python -m tests.gpu.check [--minutes 8] [--small] [--out FOLDER] [--only NAME ...]

Needs torch, transformers, peft and safetensors; not trl, ray, datasets or fastapi. Runs on a CPU, too, with small
shapes. A failure is a row; what there was no time for is a row. FOLDER gets check.json and summary.txt, of 40 lines at
most. Exit 1 where a check failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from alignment.models.device import pick_device
from tests.gpu import ceilings, decode_checks, shape_checks, stage_checks, tiny_checks
from tests.gpu.bench import Bench

SUMMARY_LINES = 40
Check = Callable[[Bench], Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """What one check said."""

    name: str
    state: str  # "ok", "failed", "no time"
    seconds: float
    said: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        facts = " ".join(f"{name}={_short(value)}" for name, value in self.said.items() if name != "traceback")
        return f"{self.state:7} {self.name} {self.seconds:.1f}s {facts}"


def checks() -> dict[str, Check]:
    """All of them by name, in order: the quick ones first."""
    rooms = (ceilings.CHECKS, tiny_checks.CHECKS, decode_checks.CHECKS, stage_checks.checks(), shape_checks.CHECKS)
    return {name: check for room in rooms for name, check in room.items()}


def run(bench: Bench, asked: Mapping[str, Check], deadline: float) -> Iterator[Row]:
    """One row a check; a check that fails, whatever way, does not stop the next."""
    for name, check in asked.items():
        began = time.monotonic()
        if began > deadline:
            yield Row(name, "no time", 0.0)
            continue
        try:
            said, state = check(bench), "ok"
        except Exception as error:  # a failure is a row
            first = str(error).strip().partition("\n")[0][:200]
            said = {"error": f"{type(error).__name__}: {first}", "traceback": traceback.format_exc()}
            state = "failed"
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
        yield Row(name, state, time.monotonic() - began, said)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    deadline = time.monotonic() + 60 * options.minutes
    device = pick_device()
    known = checks()
    asked = {name: known[name] for name in options.only} if options.only else known
    rows = []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        bench = Bench(device, Path(scratch), options.small or device.type == "cpu")
        for row in run(bench, asked, deadline):
            print(row, flush=True)
            rows.append(row)
            _write(options.out, rows)
    print(f"{options.out}/summary.txt", flush=True)
    return 1 if any(row.state == "failed" for row in rows) else 0


def summary(rows: list[Row]) -> str:
    """The rows in 40 lines at most: failures before all, then the last ones, which are the large shapes."""
    lines = [str(row)[:200] for row in sorted(rows, key=lambda row: row.state != "failed")]
    counts = ", ".join(f"{sum(r.state == s for r in rows)} {s}" for s in ("ok", "failed", "no time"))
    return "\n".join([counts, *lines[: SUMMARY_LINES - 1]]) + "\n"


def _write(out: Path, rows: list[Row]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "check.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (out / "summary.txt").write_text(summary(rows))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What this machine's GPU shows of the project.")
    parser.add_argument("--minutes", type=float, default=8.0, help="no check begins after this")
    parser.add_argument("--small", action="store_true", help="small shapes, as on a CPU")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-check"))
    parser.add_argument("--only", nargs="*", choices=sorted(checks()), help="these checks alone")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
