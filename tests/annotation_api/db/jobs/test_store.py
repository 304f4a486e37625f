"""The job state machine: who may do what when, and what each verb leaves behind."""

from __future__ import annotations

import itertools
import math
import uuid
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.events import SavedCheckpoint, StageProgress
from alignment.shared.records import storable
from annotation_api.db.jobs import graph as job_graph
from annotation_api.db.jobs import machine as job_machine
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.records import (
    Again,
    ArtifactFile,
    CancelRequested,
    Failure,
    JobError,
    LeaseLost,
    ModelToRegister,
    NewEvaluatedPolicy,
    TransitionRefused,
    UnknownJob,
    Wish,
)
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import (
    Artifact,
    AttemptOutcome,
    CheckpointRow,
    EvaluatedPolicy,
    Job,
    JobAttempt,
    JobEventRow,
    JobState,
    Metric,
    ModelKind,
    ModelParent,
    ModelVersion,
)

BOOM = Failure(ErrorKind.OUT_OF_MEMORY, "The GPU is full.", "Use a smaller micro_batch_size.")
MODEL = ModelToRegister("sft", ModelKind.SFT, "/artifacts/x", "a" * 64)

# Written apart from the code: from -> the states that may follow.
FOLLOWS = {
    "blocked": "queued paused cancelled",
    "queued": "starting paused cancelled",
    "starting": "running queued paused failed cancelled",
    "running": "committing queued paused failed cancelled",
    "committing": "succeeded queued paused failed cancelled",
    "paused": "queued blocked cancelled",
    "succeeded": "",
    "failed": "queued blocked",
    "cancelled": "queued blocked",
}


def put(session: Session, job: Job, state: JobState, *, epoch: int = 1) -> Job:
    """Bring a job into a state by force, as the start of a test."""
    live = state in job_machine.LIVE
    session.execute(
        text("UPDATE jobs SET state = :s, epoch = :e, attempts = 1, lease_until = :l, claimed_by = 'w' WHERE id = :id"),
        {"s": state.value, "e": epoch, "l": "2100-01-01" if live else None, "id": job.id},
    )
    if live:
        session.add(JobAttempt(job_id=job.id, epoch=epoch, worker="w", claimed_at=func.now()))
        session.flush()
    session.refresh(job)
    return job


def states(session: Session, job: Job) -> list[str]:
    rows = session.scalars(select(JobEventRow).where(JobEventRow.job_id == job.id).order_by(JobEventRow.seq))
    return [row.data["state"] for row in rows if row.type == "state"]


def to_committing(session: Session) -> Job:
    job = job_store.claim(session, "host:1", 30)
    assert job is not None
    job_store.mark_running(session, job.id, job.epoch)
    job_store.mark_committing(session, job.id, job.epoch)
    return job


def finish(session: Session, **fields: Any) -> Job:
    job = to_committing(session)
    return job_store.commit_success(session, job.id, job.epoch, **{"result": {}, "artifacts": []} | fields)


def expire(session: Session, job: Job) -> None:
    session.execute(
        text("UPDATE jobs SET lease_until = clock_timestamp() - interval '1 s' WHERE id = :i"), {"i": job.id}
    )
    session.expire(job)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(JobState, JobState)))
def test_every_pair_of_states(session: Session, make: Any, before: JobState, after: JobState) -> None:
    job = put(session, make.job(), before)
    if after.value in FOLLOWS[before.value].split():
        if after in job_machine.LIVE and before not in job_machine.LIVE:
            job.lease_until = job.created_at
        job_machine.move(session, job, after)
        session.flush()
        assert job.state is after
        assert (job.finished_at is not None) == (after.value in ("succeeded", "failed", "cancelled"))
        if before in job_machine.LIVE:
            ended = session.get_one(JobAttempt, (job.id, 1)).outcome
            assert ended == (None if after in job_machine.LIVE else AttemptOutcome(after.value))
    else:
        with pytest.raises(TransitionRefused, match=f"is {before.value}; it cannot become {after.value}"):
            job_machine.move(session, job, after)


def test_a_job_from_queue_to_success(session: Session, make: Any) -> None:
    base = make.model()
    job = make.job(config={"epochs": 1.0})
    assert (job.state, job.epoch, job.lease_until) == (JobState.QUEUED, 0, None)
    claimed = job_store.claim(session, "host:1", 30)
    assert claimed is job
    assert (job.state, job.epoch, job.attempts, job.claimed_by) == (JobState.STARTING, 1, 1, "host:1")
    job_store.set_starting_reason(session, job.id, 1, "loading")
    job_store.mark_running(session, job.id, 1)
    assert (job.reason, job.started_at is not None) == (None, True)
    job_store.mark_committing(session, job.id, 1)
    job_store.commit_success(
        session,
        job.id,
        1,
        result={"metrics": {"loss": 0.5, "bad": math.nan}},
        artifacts=[ArtifactFile("model.safetensors", "b" * 64, 7)],
        model=ModelToRegister(
            "sft", ModelKind.SFT, "/a", "a" * 64, metrics={"loss": 0.5}, parents=[(base.id, "start")]
        ),
        checkpoints=[NewEvaluatedPolicy(10, {"kl": 1.0}, True)],
    )
    version = session.scalars(select(ModelVersion).where(ModelVersion.job_id == job.id)).one()
    assert job.state is JobState.SUCCEEDED
    assert job.result == {"metrics": {"loss": 0.5, "bad": None}, "model": str(version.id)}
    assert (job.lease_until, job.claimed_by, job.finished_at is not None) == (None, None, True)
    assert session.get_one(Artifact, (job.id, "model.safetensors")).size == 7
    assert session.scalars(select(EvaluatedPolicy).where(EvaluatedPolicy.job_id == job.id)).one().chosen
    assert session.get_one(ModelParent, (version.id, base.id)).relation == "start"
    assert states(session, job) == ["queued", "starting", "starting", "running", "committing", "succeeded"]
    assert job_store.is_committed(session, job.id, 1)
    assert not job_store.is_committed(session, job.id, 2)


def test_claims_go_by_priority_then_age(session: Session, make: Any) -> None:
    old, urgent, young = make.job(), make.job(priority=5), make.job()
    got = [job_store.claim(session, "w", 30) for _ in range(4)]
    assert got == [urgent, old, young, None]


def test_claim_takes_only_the_wanted_stages(session: Session, make: Any) -> None:
    make.job(Stage.SFT)
    ppo = make.job(Stage.PPO)
    assert job_store.claim(session, "w", 30, stages=[Stage.PPO]) is ppo


def test_events_are_numbered_without_gaps_and_carry_metrics(session: Session, make: Any) -> None:
    job = put(session, make.job(), JobState.RUNNING)
    first = StageProgress("train", 1, 10, 2.0, 4.5, {"loss": 1.5, "kl": math.inf})
    again = StageProgress("train", 1, 10, 2.0, 4.5, {"loss": 1.25})
    job_store.append_events(session, job.id, 1, [Event.progress(first, device="cpu"), Event.note("a\0b")])
    last = job_store.append_events(session, job.id, 1, [Event.progress(again, device="cpu")])
    rows = session.scalars(select(JobEventRow).where(JobEventRow.job_id == job.id).order_by(JobEventRow.seq)).all()
    assert [row.seq for row in rows] == [1, 2, 3, 4] == list(range(1, last + 1))
    assert rows[1].data["metrics"] == {"loss": 1.5, "kl": None}
    assert rows[2].data["message"] == "a\ufffdb"
    assert job.progress is not None
    assert (job.progress["device"], job.progress["metrics"]) == ("cpu", {"loss": 1.25})
    metrics = {m.name: m.value for m in session.scalars(select(Metric).where(Metric.job_id == job.id))}
    assert metrics == {"loss": 1.25, "kl": None}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"a": [1, True, None, 0.5]}, {"a": [1, True, None, 0.5]}),
        ([math.nan, (math.inf, -math.inf)], [None, [None, None]]),
        ("a\0b \ud800 \ud83d\ude00 你好", "a\ufffdb \ufffd \U0001f600 你好"),
        ({"k\0": {"n": math.nan}}, {"k\ufffd": {"n": None}}),
    ],
)
def test_what_postgres_refuses_is_replaced(session: Session, make: Any, value: Any, stored: Any) -> None:
    assert storable(value) == stored
    job = make.job(config={"value": storable(value)})
    session.refresh(job)
    assert job.config == {"value": stored}


def test_a_dependant_waits_for_all_its_needs(session: Session, make: Any) -> None:
    one, two = make.job(), make.job()
    both = make.job(Stage.PPO, needs=[one.id, two.id])
    after = make.job(Stage.SAMPLE, needs=[both.id])
    assert both.state is JobState.BLOCKED
    finish(session)
    assert both.state is JobState.BLOCKED
    finish(session)
    assert (both.state, after.state) == (JobState.QUEUED, JobState.BLOCKED)


def test_a_need_that_has_succeeded_does_not_block(session: Session, make: Any) -> None:
    job = make.job()
    finish(session)
    assert make.job(Stage.REWARD, needs=[job.id]).state is JobState.QUEUED


def test_needs_must_exist_and_live(session: Session, make: Any) -> None:
    with pytest.raises(UnknownJob, match="does not exist"):
        make.job(needs=[uuid.uuid4()])
    dead = make.job()
    job_requests.request_cancel(session, dead.id)
    with pytest.raises(JobError, match=r"sft job .* which is cancelled: retry that one first"):
        make.job(needs=[dead.id])


def test_inputs_name_models_once_they_exist(session: Session, make: Any) -> None:
    base, sft = make.model(), make.job()
    inputs = {"model": {"job": str(sft.id)}, "models": [{"model": str(base.id)}], "project": None}
    ppo = make.job(Stage.PPO, inputs=inputs, needs=[sft.id])
    with pytest.raises(JobError, match="has made no model"):
        job_graph.resolve_inputs(session, ppo)
    made = finish(session, model=MODEL).result
    assert made is not None
    resolved = job_graph.resolve_inputs(session, ppo)
    assert resolved == {"model": {"model": made["model"]}, "models": [{"model": str(base.id)}], "project": None}


def test_failure_cancels_what_waits_and_retry_brings_it_back(session: Session, make: Any) -> None:
    sft = make.job()
    reward = make.job(Stage.REWARD, needs=[sft.id])
    ppo = make.job(Stage.PPO, needs=[sft.id, reward.id])
    job = job_store.claim(session, "w", 30)
    assert job is sft
    job_store.fail(session, sft.id, 1, BOOM, Again.NEVER)
    assert (sft.state, reward.state, ppo.state) == (JobState.FAILED, JobState.CANCELLED, JobState.CANCELLED)
    assert sft.error == {"kind": "out_of_memory", "cause": "The GPU is full.", "next_step": BOOM.next_step}
    assert ppo.error is not None
    assert ppo.error["cause"] == f"It needs sft job {sft.id}, which failed."
    with pytest.raises(JobError, match="retry that one first"):
        job_requests.retry(session, reward.id)
    job_requests.retry(session, sft.id)
    assert (sft.state, reward.state, ppo.state) == (JobState.QUEUED, JobState.BLOCKED, JobState.BLOCKED)
    assert (sft.attempts, sft.error, ppo.error) == (0, None, None)
    job_requests.retry(session, sft.id)  # asked twice
    assert sft.state is JobState.QUEUED
    finish(session)
    with pytest.raises(TransitionRefused, match="has succeeded"):
        job_requests.retry(session, sft.id)


def test_retry_leaves_alone_what_a_person_cancelled(session: Session, make: Any) -> None:
    sft = make.job()
    reward = make.job(Stage.REWARD, needs=[sft.id])
    job_requests.request_cancel(session, reward.id)
    job_store.claim(session, "w", 30)
    job_store.fail(session, sft.id, 1, BOOM, Again.NEVER)
    job_requests.retry(session, sft.id)
    assert reward.state is JobState.CANCELLED


def test_a_failed_attempt_waits_longer_each_time_and_then_fails(session: Session, make: Any) -> None:
    job = make.job(max_attempts=3)
    waits = []
    for epoch in (1, 2, 3):
        session.execute(text("UPDATE jobs SET not_before = NULL WHERE id = :i"), {"i": job.id})
        assert job_store.claim(session, "w", 30) is job
        job_store.fail(session, job.id, epoch, BOOM, Again.CRASH)
        if job.not_before is not None:
            clock = session.execute(select(func.clock_timestamp())).scalar_one()
            waits.append(round((job.not_before - clock).total_seconds()))
            assert job_store.claim(session, "w", 30) is None  # not yet
    assert waits == [2, 4]
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["cause"] == "The GPU is full. That was the last of 3 attempts in a row that got no further."
    assert (job.error["kind"], job.error["next_step"]) == ("quarantined", f"{BOOM.next_step} Then retry the job.")
    history = session.scalars(select(JobAttempt).where(JobAttempt.job_id == job.id).order_by(JobAttempt.epoch)).all()
    assert [row.outcome for row in history] == [AttemptOutcome.QUEUED, AttemptOutcome.QUEUED, AttemptOutcome.FAILED]
    assert history[0].error == {"kind": "out_of_memory", "cause": "The GPU is full.", "next_step": BOOM.next_step}


def test_an_expired_lease_is_taken_back_and_the_zombie_writes_nothing(session: Session, make: Any) -> None:
    job = make.job()
    job_store.claim(session, "host:7", 30)
    job_store.mark_running(session, job.id, 1)
    assert job_store.requeue_expired(session) == []
    expire(session, job)
    assert job_store.requeue_expired(session) == [job]
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    assert session.get_one(JobAttempt, (job.id, 1)).outcome is AttemptOutcome.LOST
    assert job.error is not None
    assert job.error["cause"] == "Attempt 1 on host:7 stopped reporting while running."
    events = states(session, job)
    for again in (1, 2):  # first while it is queued, then while a second attempt has it
        for write in fenced_writes(session, job.id, epoch=1):
            with pytest.raises(LeaseLost, match="attempt 1 no longer holds job"):
                write()
        if again == 1:
            session.execute(text("UPDATE jobs SET not_before = NULL WHERE id = :i"), {"i": job.id})
            session.expire(job)
            assert job_store.claim(session, "host:8", 30) is job
            events += ["starting"]
    assert states(session, job) == events
    assert session.scalar(select(func.count()).select_from(ModelVersion).where(ModelVersion.job_id == job.id)) == 0


def fenced_writes(session: Session, job_id: uuid.UUID, epoch: int) -> list[Any]:
    return [
        lambda: job_store.renew(session, job_id, epoch, 30),
        lambda: job_store.set_starting_reason(session, job_id, epoch, "loading"),
        lambda: job_store.mark_running(session, job_id, epoch),
        lambda: job_store.append_events(session, job_id, epoch, [Event.note("I live")]),
        lambda: job_store.mark_committing(session, job_id, epoch),
        lambda: job_store.commit_success(session, job_id, epoch, result={}, artifacts=[], model=MODEL),
        lambda: job_store.fail(session, job_id, epoch, BOOM, Again.CRASH),
        lambda: job_store.mark_cancelled(session, job_id, epoch),
        lambda: job_store.mark_paused(session, job_id, epoch),
        lambda: job_store.record_checkpoint(session, job_id, epoch, saved(1)),
        lambda: job_store.release(session, job_id, epoch),
    ]


def test_an_expired_lease_on_the_last_attempt_fails_the_job(session: Session, make: Any) -> None:
    job = make.job(max_attempts=1)
    job_store.claim(session, "w", 30)
    expire(session, job)
    job_store.requeue_expired(session)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error["kind"], "last of 1 attempts" in job.error["cause"]) == ("quarantined", True)
    assert job.error["next_step"]


def test_renew_prolongs_hands_over_and_tells_of_a_cancel(session: Session, make: Any) -> None:
    job = make.job()
    job_store.claim(session, "dispatcher", 1)
    before = job.lease_until
    assert before is not None
    assert job_store.renew(session, job.id, 1, 60, worker="launcher") is None
    assert job.lease_until is not None
    assert 55 < (job.lease_until - before).total_seconds() < 70
    assert job.claimed_by == "launcher"
    assert job_requests.request_cancel(session, job.id).state is JobState.STARTING
    assert job_store.renew(session, job.id, 1, 60) is Wish.CANCEL
    job_store.mark_cancelled(session, job.id, 1)
    assert (job.state, job.error and job.error["kind"]) == (JobState.CANCELLED, "cancelled")


def test_a_planned_stop_queues_the_job_at_once_and_is_free(session: Session, make: Any) -> None:
    job = make.job(max_attempts=1)
    for epoch in (1, 2, 3):
        assert job_store.claim(session, "w", 30) is job
        job_store.release(session, job.id, epoch)
        assert (job.state, job.attempts, job.error) == (JobState.QUEUED, 0, None)
    job_store.claim(session, "w", 30)
    job_requests.request_cancel(session, job.id)
    assert job_store.release(session, job.id, 4).state is JobState.CANCELLED


def saved(step: int, name: str | None = None) -> SavedCheckpoint:
    return SavedCheckpoint(name or f"1/abc/checkpoint-{step}", step, "c" * 64, 100, 0.25)


def attempt(session: Session, job: Job, again: Again, *checkpoints: int) -> None:
    """One attempt that saves at these steps and then ends badly."""
    session.execute(text("UPDATE jobs SET not_before = NULL WHERE id = :i"), {"i": job.id})
    assert job_store.claim(session, "w", 30) is job
    for step in checkpoints:
        job_store.record_checkpoint(session, job.id, job.epoch, saved(step, f"{job.epoch}/checkpoint-{step}"))
    job_store.fail(session, job.id, job.epoch, BOOM, again)


def test_attempts_that_get_further_use_up_no_budget(session: Session, make: Any) -> None:
    job = make.job(max_attempts=2)
    for step in (1, 2, 3, 4):
        attempt(session, job, Again.CRASH, step)
        assert (job.state, job.attempts, job.saved_step) == (JobState.QUEUED, 1, step)
    attempt(session, job, Again.CRASH, 4)  # no further than before
    assert (job.state, job.error and job.error["kind"]) == (JobState.FAILED, "quarantined")
    job_requests.retry(session, job.id)
    assert (job.attempts, job.saved_step) == (0, 4)


def test_interruptions_have_a_budget_of_their_own(session: Session, make: Any) -> None:
    job = make.job(max_attempts=1)
    waits = []
    for _ in range(job_machine.MAX_INTERRUPTIONS):
        attempt(session, job, Again.INTERRUPTED)
        assert (job.state, job.attempts) == (JobState.QUEUED, 0)
        assert job.not_before is not None
        waits.append(round((job.not_before - session.execute(select(func.clock_timestamp())).scalar_one()).seconds))
    assert max(waits) <= 30
    attempt(session, job, Again.INTERRUPTED)
    assert (job.state, job.error and job.error["kind"]) == (JobState.FAILED, "out_of_memory")
    assert job.error
    assert "interruption 101 in a row" in job.error["cause"]


def test_a_checkpoint_told_twice_is_one(session: Session, make: Any) -> None:
    job = make.job()
    job_store.claim(session, "w", 30)
    for _ in range(2):
        job_store.record_checkpoint(session, job.id, 1, saved(5))
    rows = session.scalars(select(CheckpointRow).where(CheckpointRow.job_id == job.id)).all()
    assert [(row.name, row.step, row.size) for row in rows] == [("1/abc/checkpoint-5", 5, 100)]
    events = session.scalars(
        select(JobEventRow).where(JobEventRow.job_id == job.id, JobEventRow.type == "checkpoint")
    ).all()
    assert [event.data["step"] for event in events] == [5]


def test_a_pause_takes_what_waits_at_once_and_asks_what_runs(session: Session, make: Any) -> None:
    running = make.job()
    waiting = make.job(Stage.REWARD, needs=[running.id])
    job_store.claim(session, "w", 30)
    assert job_requests.request_pause(session, waiting.id).state is JobState.PAUSED
    assert job_requests.request_pause(session, running.id).state is JobState.STARTING
    assert job_requests.request_pause(session, running.id).pause_requested
    assert job_store.renew(session, running.id, 1, 30) is Wish.PAUSE
    assert job_store.mark_paused(session, running.id, 1).state is JobState.PAUSED
    assert (running.attempts, running.pause_requested, running.lease_until) == (0, False, None)
    assert session.get_one(JobAttempt, (running.id, 1)).outcome is AttemptOutcome.PAUSED
    assert job_store.claim(session, "w", 30) is None
    assert job_requests.resume(session, waiting.id).state is JobState.BLOCKED
    assert job_requests.resume(session, running.id).state is JobState.QUEUED
    assert job_requests.resume(session, running.id).state is JobState.QUEUED
    assert job_store.claim(session, "w", 30) is running


def test_a_pause_that_is_called_off_queues_what_had_stopped_for_it(session: Session, make: Any) -> None:
    job = make.job()
    job_store.claim(session, "w", 30)
    job_requests.request_pause(session, job.id)
    job_requests.resume(session, job.id)
    assert job_store.renew(session, job.id, 1, 30) is None
    assert job_store.mark_paused(session, job.id, 1).state is JobState.QUEUED  # it had learned of the pause before


def test_a_cancel_beats_a_pause(session: Session, make: Any) -> None:
    job = make.job()
    job_store.claim(session, "w", 30)
    job_requests.request_pause(session, job.id)
    job_requests.request_cancel(session, job.id)
    assert job_store.renew(session, job.id, 1, 30) is Wish.CANCEL
    assert job_store.mark_paused(session, job.id, 1).state is JobState.CANCELLED
    with pytest.raises(TransitionRefused, match="has cancelled already"):
        job_requests.request_pause(session, job.id)


def test_a_paused_job_can_be_cancelled_and_a_crash_while_pausing_pauses(session: Session, make: Any) -> None:
    job = make.job()
    job_store.claim(session, "w", 30)
    job_requests.request_pause(session, job.id)
    job_store.fail(session, job.id, 1, BOOM, Again.CRASH)
    assert (job.state, job.error and job.error["kind"]) == (JobState.PAUSED, "out_of_memory")
    assert job_requests.request_cancel(session, job.id).state is JobState.CANCELLED


def test_a_paused_job_falls_with_what_it_needs(session: Session, make: Any) -> None:
    sft = make.job()
    reward = make.job(Stage.REWARD, needs=[sft.id])
    job_requests.request_pause(session, reward.id)
    job_store.claim(session, "w", 30)
    job_store.fail(session, sft.id, 1, BOOM, Again.NEVER)
    assert reward.state is JobState.CANCELLED
    with pytest.raises(JobError, match="retry that one first"):
        job_requests.resume(session, reward.id)
    job_requests.resume(session, sft.id)
    assert (sft.state, reward.state) == (JobState.QUEUED, JobState.BLOCKED)


def test_a_wait_for_a_gpu_says_what_for_since_when_and_counts(session: Session, make: Any) -> None:
    job = make.job()
    job_store.claim(session, "w", 30)
    job_store.set_starting_reason(session, job.id, 1, "waiting_gpu", "2 GPUs, 1 of 4 free")
    since = job.reason_since
    job_store.set_starting_reason(session, job.id, 1, "waiting_gpu", "2 GPUs, 0 of 4 free")
    assert (job.reason, job.reason_detail, job.reason_since) == ("waiting_gpu", "2 GPUs, 0 of 4 free", since)
    session.execute(
        text("UPDATE jobs SET reason_since = clock_timestamp() - interval '40 s' WHERE id = :i"), {"i": job.id}
    )
    session.expire(job)
    job_store.set_starting_reason(session, job.id, 1, "loading")
    assert session.get_one(JobAttempt, (job.id, 1)).waited_seconds == pytest.approx(40, abs=5)
    job_store.mark_running(session, job.id, 1)
    assert (job.reason, job.reason_since) == (None, None)
    assert session.get_one(JobAttempt, (job.id, 1)).waited_seconds == pytest.approx(40, abs=5)  # loading is no wait


def test_claims_are_fair_between_people(session: Session, make: Any) -> None:
    """One person's hundred jobs do not keep another's first one waiting."""
    many, few = make.person(), make.person()
    first, second, third = (make.job(created_by=many.id) for _ in range(3))
    late = make.job(created_by=few.id)
    urgent = make.job(created_by=many.id, priority=1)
    got = [job_store.claim(session, "w", 30) for _ in range(5)]
    assert got == [urgent, late, first, second, third]


def test_cancel_before_commit_stops_it_and_during_commit_is_too_late(session: Session, make: Any) -> None:
    early, late = make.job(), make.job()
    job_store.claim(session, "w", 30)
    job_store.mark_running(session, early.id, 1)
    job_requests.request_cancel(session, early.id)
    with pytest.raises(CancelRequested):
        job_store.mark_committing(session, early.id, 1)
    job_store.mark_cancelled(session, early.id, 1)
    assert to_committing(session) is late
    assert job_requests.request_cancel(session, late.id).state is JobState.COMMITTING
    assert job_store.commit_success(session, late.id, 1, result={}, artifacts=[]).state is JobState.SUCCEEDED
    assert job_requests.request_cancel(session, late.id).state is JobState.SUCCEEDED


def test_a_cancelled_job_is_not_queued_again_when_its_attempt_dies(session: Session, make: Any) -> None:
    job = make.job()
    job_store.claim(session, "w", 30)
    job_requests.request_cancel(session, job.id)
    expire(session, job)
    job_store.requeue_expired(session)
    assert job.state is JobState.CANCELLED


def test_commit_needs_the_committing_state(session: Session, make: Any) -> None:
    job = make.job()
    job_store.claim(session, "w", 30)
    with pytest.raises(TransitionRefused, match="is starting; it cannot become succeeded"):
        job_store.commit_success(session, job.id, 1, result={}, artifacts=[])


def test_cancel_of_an_unknown_job(session: Session) -> None:
    with pytest.raises(UnknownJob, match="there is no job"):
        job_requests.request_cancel(session, uuid.uuid4())
