"""Weights & Biases: files below HOME/mirrors/wandb that `wandb sync` sends, or at once where that is set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wandb


class WandbRun:
    """One run; each phase has an axis of its own, since its steps begin anew."""

    def __init__(self, about: dict[str, Any]) -> None:
        folder = Path(about["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        self._phases: set[str] = set()
        self._run = wandb.init(
            project=about["project"],
            name=about["name"],
            id=f"{about['job']}-{about['epoch']}",
            group=about["job"],
            job_type=about["stage"],
            tags=about["tags"],
            config=about["parameters"] | {"inputs": about["inputs"]},
            dir=str(folder),
            mode="online" if about["online"] else "offline",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )

    def metrics(self, phase: str, step: int, values: dict[str, float]) -> None:
        axis = f"{phase}/step"
        if phase not in self._phases:
            self._run.define_metric(axis)
            self._run.define_metric(f"{phase}/*", step_metric=axis)
            self._phases.add(phase)
        self._run.log({axis: step} | {f"{phase}/{name}": value for name, value in values.items()})

    def end(self, state: str, values: dict[str, float], files: list[dict[str, Any]]) -> None:
        self._run.summary.update({f"final/{name}": value for name, value in values.items()} | {"state": state})
        self._run.summary.update({f"file/{file['name']}": file["sha256"] for file in files})
        self._run.finish(exit_code=0 if state in ("succeeded", "paused", "queued") else 1)


def begin(about: dict[str, Any]) -> WandbRun:
    return WandbRun(about)
