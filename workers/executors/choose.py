"""Which executor runs the stages: chosen by the settings."""

from __future__ import annotations

from annotation_api.worker_settings import ExecutorKind, WorkerSettings
from workers.executors.base import Executor
from workers.staging import Folders


def make_executor(settings: WorkerSettings, folders: Folders) -> Executor:
    """The one that the settings choose; Ray is loaded only for its own."""
    if settings.executor is ExecutorKind.PROCESS:
        from workers.executors.process import ProcessExecutor

        return ProcessExecutor()
    from workers.executors.ray import RayExecutor

    return RayExecutor(
        settings.ray_address,
        folders.ray,
        settings.infeasible_seconds,
        home=folders.home,
        allow_cpu=settings.allow_cpu,
    )
