"""Jobs in every state for the scene: a pipeline at work, one that waits, one that failed, one that is done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.events import SavedCheckpoint, StageProgress
from alignment.shared.sentence import Sentence
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.records import Again, ArtifactFile, Failure, ModelToRegister, NewEvaluatedPolicy
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Alias, AliasMove, ModelKind, ModelParent, Person, Pipeline
from tests.support.evaluations import evaluated, prefers

WAITS = Sentence(
    "waits-for-busy",
    "%(wanted)s on machines with %(free)s free of %(all)s",
    wanted=Sentence("gpus", "%(n)s GPUs", n=4),
    free=3,
    all=8,
)


@dataclass(frozen=True)
class Runs:
    """Jobs to look at, a pipeline, and a model."""

    running: Any
    waiting: Any
    failed: Any
    done: Any
    pipeline: Any
    model: Any
    other: Any  # model


def fill(session: Session, make: Any, snapshot: Any) -> Runs:
    """A pipeline whose SFT is done and whose reward model trains, after a crash; a job for each other state."""
    base = make.model(name="tiny base")
    pipeline = Pipeline(spec={}, created_by=snapshot.created_by)
    session.add(pipeline)
    session.flush()
    own = {"created_by": snapshot.created_by, "pipeline_id": pipeline.id, "gpus": 1.0}
    start = {"model": {"model": str(base.id)}}
    sft = make.job(Stage.SFT, **own, inputs=start, priority=100)
    _succeed(session, sft)
    config = {"learning_rate": 1e-5, "epochs": 1}
    rankings = {"rankings": {"snapshot": str(snapshot.id)}}
    job = make.job(Stage.REWARD, **own, inputs=start | rankings, config=config, priority=100)
    make.job(Stage.PPO, **own, needs=[job.id])
    _train(session, job)
    model = make.model(ModelKind.REWARD, name="careful judge", snapshot_id=snapshot.id, metrics={"accuracy": 0.8125})
    session.add_all([ModelParent(model_id=model.id, parent_id=base.id, relation="start")])
    session.add(Alias(name="champion", model_id=model.id))
    session.flush()
    waiting, failed = _others(session, make, model, start, session.get_one(Person, snapshot.created_by))
    session.add(AliasMove(name="champion", model_id=model.id, why="The first that passed the gate."))
    measured = {"heldout_accuracy": 0.71, "heldout_accuracy_low": 0.66, "heldout_accuracy_high": 0.75}
    other = make.model(ModelKind.REWARD, name="strict judge", metrics=measured | {"heldout_calibration_error": 0.03})
    failed.name, failed.notes, failed.tags = "less KL", "Begun after the talk on over-optimisation.", ["kl", "toy"]
    return Runs(job, waiting, failed, sft, pipeline, model, other)


def _claim(session: Session, job: Any) -> int:
    """The epoch of the job's new attempt; it is the most urgent one."""
    claimed = job_store.claim(session, "scene:1", lease_seconds=3600)
    assert claimed is not None
    assert claimed.id == job.id
    return claimed.epoch


def _succeed(session: Session, job: Any) -> None:
    epoch = _claim(session, job)
    job_store.mark_running(session, job.id, epoch)
    steps = [Event.progress(StageProgress("train", n, 20, 4.0, 5.0 - n / 4, {"loss": 2 / n})) for n in range(1, 21)]
    job_store.append_events(session, job.id, epoch, steps)
    job_store.mark_committing(session, job.id, epoch)
    files = [ArtifactFile("model.safetensors", "ab" * 32, 2_470_000_000), ArtifactFile("config.json", "cd" * 32, 731)]
    compared = [NewEvaluatedPolicy(10, {"loss": 0.2}, False), NewEvaluatedPolicy(20, {"loss": 0.1}, True)]
    made = ModelToRegister("sft-1", ModelKind.SFT, "/models/sft-1", "ef" * 32, metrics={"loss": 0.1})
    job_store.commit_success(session, job.id, epoch, result={}, artifacts=files, model=made, checkpoints=compared)


def _train(session: Session, job: Any) -> None:
    """A first attempt that crashed, a second one at step 30 of 40."""
    epoch = _claim(session, job)
    job_store.mark_running(session, job.id, epoch)
    job_store.record_checkpoint(
        session, job.id, epoch, SavedCheckpoint("1/checkpoint-10", 10, "12" * 32, 7_400_000, 1.5)
    )
    died = Failure(ErrorKind.CRASH, "The process of the stage died (signal 9).", "It is tried again by itself.")
    job_store.fail(session, job.id, epoch, died, Again.CRASH)
    job.not_before = None
    session.flush()
    epoch = _claim(session, job)
    job_store.mark_running(session, job.id, epoch)
    lines = [
        Event.progress(
            StageProgress("train", n, 40, 2.0, 80.0 - 2 * n, {"loss": 0.7 / (1 + n / 9), "accuracy": n / 40})
        )
        for n in range(11, 31)
    ]
    rows = [{"prompt": "What is 2 + 2?", "response": "four, 四, أربعة"}]
    job_store.append_events(session, job.id, epoch, [*lines, Event.note("Warm."), Event.samples(30, rows)])
    job_store.record_checkpoint(
        session, job.id, epoch, SavedCheckpoint("2/checkpoint-30", 30, "34" * 32, 7_400_000, 1.4)
    )


def _measure(session: Session, job: Any, epoch: int) -> None:
    """Twenty updates of PPO in which the policy runs away, and an alarm."""
    lines = []
    for n in range(1, 21):
        numbers = {
            "score": n / 5, "raw_score": n / 4, "reward": n / 5 - n**2 / 200, "kl": n**2 / 40, "entropy": 3 - n / 10,
            "response_length": 40 + 3 * n, "finished_share": 1 - n / 60, "repeated_share": n / 90, "policy_loss": -n,
            "value_loss": 2 / n, "learning_rate": 3e-6 * (1 - n / 40), "grad_norm": 1 + n % 3, "clip_fraction": n / 100,
            "explained_variance": 1 - 1 / n, "ratio": 1 + n / 500, "approx_kl": n / 900, "kl_coef": 0.05,
        }  # fmt: skip
        numbers |= (
            {"heldout_score": n / 6, "heldout_kl": n**2 / 45, "heldout_objective": n / 6 - n**2 / 900}
            if n % 4 == 0
            else {}
        )
        lines.append(Event.progress(StageProgress("ppo", n, 24, 0.4, 10.0, numbers)))
    alarm = Event.note(
        Sentence("kl-budget-found", "The KL to the SFT policy is %(kl)s, max_kl is %(most)s.", kl="8.9", most="8"),
        "warning",
    )
    job_store.append_events(session, job.id, epoch, [*lines[:14], alarm, *lines[14:]])


def _compare(session: Session, make: Any, job: Any, person: Person) -> None:
    """Four looks: people like the second best, while the learned score goes on rising; nobody has judged the last."""
    said = {4: (4, 4, 0), 8: (8, 8, 0), 12: (0, 12, 0), 16: ()}
    for update, better in said.items():
        texts = (f"on the hill, {update}", f"the miller, {update}", "a rose" if update == 4 else f"blood, {update}")
        tasks = evaluated(session, job, update, texts, score=update / 4)
        for task, first in zip(tasks, better, strict=False):
            make.submission(task, prefers(session, task, first), person)
            task.judged = 1
    session.flush()


def _saved(name: str, step: int) -> SavedCheckpoint:
    return SavedCheckpoint(name, step, "12" * 32, 7_400_000, 1.5)


def _others(session: Session, make: Any, model: Any, start: dict[str, Any], person: Person) -> tuple[Any, Any]:
    """A job that waits for a GPU; besides it one that failed, one that is paused, one that was cancelled."""
    waiting = make.job(Stage.SFT, gpus=4.0, priority=90)
    epoch = _claim(session, waiting)
    job_store.set_starting_reason(session, waiting.id, epoch, "waiting_gpu", WAITS)
    waiting.reason_since = datetime.now(UTC) - timedelta(minutes=2, seconds=5)
    project = make.project(person, name="Policies compared")
    inputs = start | {"reward_model": {"model": str(model.id)}, "project": str(project.id)}
    failed = make.job(Stage.PPO, inputs=inputs, priority=80)
    epoch = _claim(session, failed)
    job_store.mark_running(session, failed.id, epoch)
    _measure(session, failed, epoch)
    _compare(session, make, failed, person)
    why = Failure(
        ErrorKind.DIVERGED,
        "The loss is NaN in update 12.",
        "Lower learning_rate or raise kl_coef, then retry.",
        traceback='Traceback (most recent call last):\n  File "ppo.py", line 120\nStageError: The loss is NaN.',
        log="The stage runs on cuda:0.\nThe stage is over.",
    )
    job_store.fail(session, failed.id, epoch, why, Again.NEVER)
    job_requests.request_pause(session, make.job(Stage.SAMPLE).id)
    job_requests.request_cancel(session, make.job(Stage.SFT).id)
    return waiting, failed
