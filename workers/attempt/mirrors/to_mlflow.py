"""An MLflow server: a run for each attempt, with parameters, metrics by phase, and by reference what it left."""

from __future__ import annotations

import time
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

STATES = {"succeeded": "FINISHED", "cancelled": "KILLED", "paused": "KILLED", "queued": "KILLED"}
MOST_PARAMETERS = 100  # of one request
LONGEST = 500  # characters of a parameter


class MlflowRun:
    """One run of the experiment that is named after the project."""

    def __init__(self, about: dict[str, Any]) -> None:
        self._client = MlflowClient(tracking_uri=about["address"])
        experiment = self._client.get_experiment_by_name(about["project"])
        key = experiment.experiment_id if experiment else self._client.create_experiment(about["project"])
        tags = {f"rankloop.{name}": str(about[name]) for name in ("job", "stage", "epoch")}
        tags |= {f"rankloop.input.{name}": str(value) for name, value in about["inputs"].items()}
        tags |= {f"rankloop.tag.{tag}": "yes" for tag in about["tags"]}
        self._run = self._client.create_run(key, run_name=about["name"], tags=tags).info.run_id
        parameters = [Param(name, str(value)[:LONGEST]) for name, value in about["parameters"].items()]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(self._run, params=parameters[start : start + MOST_PARAMETERS])

    def metrics(self, phase: str, step: int, values: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        measured = [Metric(f"{phase}/{name}", value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=measured)

    def end(self, state: str, values: dict[str, float], files: list[dict[str, Any]]) -> None:
        self.metrics("final", 0, values)
        for file in files:
            self._client.set_tag(
                self._run, f"rankloop.file.{file['name']}", f"sha256:{file['sha256']} {file['size']} bytes"
            )
        self._client.set_terminated(self._run, STATES.get(state, "FAILED"))


def begin(about: dict[str, Any]) -> MlflowRun:
    return MlflowRun(about)
