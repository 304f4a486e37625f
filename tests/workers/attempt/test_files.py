"""What an attempt reads and leaves: snapshots and models as files, artifacts as rows, sweeping."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from alignment.models.adapters import add_adapters, save_adapter
from alignment.shared import artifact
from alignment.shared.config import LoRAConfig, Stage
from alignment.shared.errors import Damaged
from alignment.shared.records import Prompt
from alignment.shared.stages import RewardInputs
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.snapshots import freeze
from annotation_api.db.tables import DatasetKind, Job, ModelKind
from tests.support.alignment import tiny
from workers.attempt import inputs as pipeline
from workers.stage.faults import AttemptError
from workers.staging import Folders, sweep

PROMPTS = [Prompt.from_text(words) for words in ("Where is the mill?", "Who bakes?", "What is red?")]


def frozen_prompts(make: Any, session: Session) -> uuid.UUID:
    person = make.person()
    dataset = make.dataset(DatasetKind.PROMPTS, PROMPTS, person)
    return freeze.freeze_dataset(session, dataset.id, DatasetKind.PROMPTS, person.id).id


def trained(make: Any, session: Session, folder: Path, kind: ModelKind = ModelKind.SFT, name: str = "sft-1") -> Any:
    """A model version that a job made, whole on disk."""
    (folder / "staging").mkdir(parents=True)
    (folder / "staging" / "model.safetensors").write_bytes(b"weights")
    digest = artifact.publish(folder / "staging", folder / "1")
    return make.model(kind, name=name, path=str(folder / "1"), sha256=digest, job_id=make.job().id)


# ---------------------------------------------------------------- inputs


def test_a_ppo_job_gets_its_two_models_as_folders_and_its_prompts_as_lines(
    make: Any, session: Session, tmp_path: Path
) -> None:
    policy = trained(make, session, tmp_path / "sft")
    scorer = trained(make, session, tmp_path / "rm", ModelKind.REWARD)
    inputs = {
        "model": {"job": str(policy.job_id)},
        "reward_model": {"model": str(scorer.id)},
        "prompts": {"snapshot": str(frozen_prompts(make, session))},
    }
    resolved = pipeline.resolve(session, make.job(Stage.PPO, inputs=inputs), tmp_path)

    assert resolved.inputs(lambda model, commit: commit) == {
        "model": tmp_path / "sft" / "1",
        "reward_model": tmp_path / "rm" / "1",
        "prompts": tmp_path / "prompts.jsonl",
    }
    assert resolved.parents == [(policy.id, "start"), (scorer.id, "reward_model")]
    assert (tmp_path / "prompts.jsonl").read_text() == "".join(prompt.canonical() + "\n" for prompt in PROMPTS)


def test_a_reward_job_reads_answers_and_verdicts_beside_its_rankings(
    make: Any, session: Session, tmp_path: Path
) -> None:
    """As alignment.shared.stages wants them; whether they hold what their names say was asked at the door."""
    start = trained(make, session, tmp_path / "sft")
    snapshot = {"snapshot": str(frozen_prompts(make, session))}
    inputs = {"model": {"model": str(start.id)}, "rankings": snapshot, "verdicts": snapshot}
    resolved = pipeline.resolve(session, make.job(Stage.REWARD, inputs=inputs), tmp_path)
    files = {name: tmp_path / f"{name}.jsonl" for name in ("rankings", "verdicts")}
    given = resolved.inputs(lambda model, commit: commit)
    assert given == {"model": tmp_path / "sft" / "1", **files}
    assert RewardInputs.model_validate(given).verdicts == files["verdicts"]
    assert files["verdicts"].read_text() == files["rankings"].read_text() != ""
    assert str(resolved.snapshot_id) == snapshot["snapshot"]


def test_models_to_sample_from_are_named_by_their_ids(make: Any, session: Session, tmp_path: Path) -> None:
    first, second = (trained(make, session, tmp_path / name) for name in ("a", "b"))
    inputs = {
        "models": [{"model": str(first.id)}, {"job": str(second.job_id)}],
        "prompts": {"snapshot": str(frozen_prompts(make, session))},
    }
    resolved = pipeline.resolve(session, make.job(Stage.SAMPLE, inputs=inputs), tmp_path)
    assert resolved.inputs(lambda model, commit: commit) == {
        "models": {str(first.id): tmp_path / "a" / "1", str(second.id): tmp_path / "b" / "1"},
        "prompts": tmp_path / "prompts.jsonl",
    }


def test_a_model_that_changed_since_it_was_registered_is_refused(make: Any, session: Session, tmp_path: Path) -> None:
    policy = trained(make, session, tmp_path / "sft")
    inputs = {"model": {"model": str(policy.id)}, "demonstrations": {"snapshot": str(frozen_prompts(make, session))}}
    resolved = pipeline.resolve(session, make.job(inputs=inputs), tmp_path)
    (tmp_path / "sft" / "1" / "model.safetensors").write_bytes(b"WEIGHTS")
    with pytest.raises(Damaged, match="differs from the manifest"):
        resolved.inputs(lambda model, commit: commit)

    artifact.write_manifest(tmp_path / "sft" / "1")  # whole again, but not what the registry knows
    with pytest.raises(AttemptError, match="not what the registry knows as sft-1"):
        resolved.inputs(lambda model, commit: commit)


def base_inputs(make: Any, session: Session, path: str) -> Any:
    """A job on a base model of that path, resolved; its row, to look at."""
    row = make.model(path=path)
    inputs = {"model": {"model": str(row.id)}, "demonstrations": {"snapshot": str(frozen_prompts(make, session))}}
    return row, make.job(inputs=inputs)


def pin_in(session: Session) -> Callable[[uuid.UUID, str], str]:
    return lambda model, commit: pipeline.pin(session, model, commit)


def test_a_base_model_is_looked_at_again_before_the_stage_starts(make: Any, session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    _, job = base_inputs(make, session, str(folder))
    resolved = pipeline.resolve(session, job, tmp_path)
    assert resolved.inputs(pin_in(session))["model"] == folder
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.T", null]}}')
    with pytest.raises(AttemptError, match="auto_map") as caught:
        resolved.inputs(pin_in(session))
    assert caught.value.kind is ErrorKind.BAD_INPUT

    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AttemptError, match="has become a link"):
        resolved.inputs(pin_in(session))


def test_adapters_stand_on_what_they_stood_on_when_they_were_registered(
    make: Any, session: Session, tmp_path: Path
) -> None:
    base, other = (tiny.save(tiny.causal(), tmp_path / name) for name in ("base", "other"))
    model: Any = add_adapters(tiny.causal(), LoRAConfig(rank=2), "CAUSAL_LM", 0)
    save_adapter(model, tiny.tokenizer(), tmp_path / "light", str(base))
    row, job = base_inputs(make, session, str(tmp_path / "light"))
    row.metrics = {"base": str(base)}
    session.flush()
    resolved = pipeline.resolve(session, job, tmp_path)
    assert resolved.inputs(pin_in(session))["model"] == tmp_path / "light"
    save_adapter(model, tiny.tokenizer(), tmp_path / "light", str(other))
    with pytest.raises(AttemptError, match="stand on another model than when it was registered"):
        resolved.inputs(pin_in(session))


def test_a_hub_model_stays_at_the_commit_that_was_fetched_first(
    make: Any, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's `main` moves on; jobs do not."""
    asked: list[str | None] = []

    def snapshot_download(hub_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(revision)
        folder = tmp_path / "cache" / (revision or f"{len(asked)}" * 40)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")
        if "*.safetensors" in allow_patterns:
            (folder / "model.safetensors").touch()
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Qwen" / "x").mkdir(parents=True)  # a folder of that name is not the hub's
    row, job = base_inputs(make, session, "Qwen/x")
    resolved = pipeline.resolve(session, job, tmp_path)
    for _ in range(2):
        assert resolved.inputs(pin_in(session))["model"] == tmp_path / "cache" / ("1" * 40)
    assert asked == [None, "1" * 40, "1" * 40, "1" * 40]  # small files before weights, both times
    assert row.metrics == {"commit": "1" * 40}
    # two workers at once: the commit that was written first counts for both
    assert pipeline.pin(session, row.id, "2" * 40) == "1" * 40

    _, job = base_inputs(make, session, "Qwen/x@" + "3" * 40)
    (tmp_path / "second").mkdir()
    pipeline.resolve(session, job, tmp_path / "second").inputs(pin_in(session))
    assert asked[-1] == "3" * 40


@pytest.mark.parametrize(
    ("config", "told"),
    [('{"model_type": "t5"}', "it is a t5, an encoder-decoder"), ("{}", "no weights as safetensors.*models convert")],
)
def test_a_hub_model_that_cannot_be_used_is_refused_before_its_weights_are_fetched(
    make: Any, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, told: str
) -> None:
    asked: list[list[str]] = []

    def snapshot_download(hub_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        folder = tmp_path / "cache" / ("1" * 40)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(config)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    _, job = base_inputs(make, session, "Qwen/x")
    with pytest.raises(AttemptError, match=told):
        pipeline.resolve(session, job, tmp_path).inputs(pin_in(session))
    assert "*.safetensors" not in asked[0]
    assert len(asked) == 1 or config == "{}"


def test_a_snapshot_whose_rows_were_changed_is_refused(make: Any, session: Session, tmp_path: Path) -> None:
    snapshot = frozen_prompts(make, session)
    session.execute(text("ALTER TABLE snapshot_rows DISABLE TRIGGER USER"))
    session.execute(text("UPDATE snapshot_rows SET line = replace(line, 'mill', 'hill')"))
    inputs = {"model": {"model": str(make.model().id)}, "demonstrations": {"snapshot": str(snapshot)}}
    with pytest.raises(AttemptError, match=f"snapshot {snapshot}") as caught:
        pipeline.resolve(session, make.job(inputs=inputs), tmp_path)
    assert caught.value.kind is ErrorKind.CORRUPT_CHECKPOINT


# ---------------------------------------------------------------- sweeping


@pytest.fixture
def attempts(make: Any, session: Session, tmp_path: Path) -> dict[str, Folders]:
    """Jobs in each state, with files of their first and of their present attempt."""
    found = {}
    for name in ("running", "queued again", "failed", "succeeded"):
        job = make.job()
        for epoch in (1, 2):
            job_store.claim(session, "here:1", 30)
            found[f"{name} {epoch}"] = folders = Folders(tmp_path, job.id, epoch)
            for folder in (folders.out, folders.artifact, folders.ray):
                folder.mkdir(parents=True)
            if epoch == 1:
                job_store.release(session, job.id, 1)
        finish(session, job, name)
    yield found
    for folders in found.values():
        shutil.rmtree(folders.ray, ignore_errors=True)


def finish(session: Session, job: Job, name: str) -> None:
    if name == "queued again":
        job_store.release(session, job.id, 2)
        job.priority = -1  # claimed no more
        job.not_before = text("clock_timestamp() + interval '1 hour'")
    elif name == "failed":
        job_store.fail(session, job.id, 2, Failure(ErrorKind.INTERNAL, "a fault"), Again.NEVER)
    elif name == "succeeded":
        job_store.mark_running(session, job.id, 2)
        job_store.mark_committing(session, job.id, 2)
        job_store.commit_success(session, job.id, 2, result={}, artifacts=())
    session.flush()


def test_the_sweeper_takes_what_is_nobodys_and_nothing_else(
    attempts: dict[str, Folders], session: Session, tmp_path: Path
) -> None:
    stranger = Folders(tmp_path, uuid.uuid4(), 1)
    stranger.out.mkdir(parents=True)
    (tmp_path / "staging" / "notes-1").mkdir()
    sweep(session, tmp_path)

    kept = {name for name, folders in attempts.items() if folders.staging.exists()}
    assert kept == {"running 2"}
    assert {name for name, folders in attempts.items() if folders.ray.exists()} == {"running 2"}
    assert {name for name, folders in attempts.items() if folders.artifact.exists()} == {"running 2", "succeeded 2"}
    assert stranger.out.exists()  # this database does not know the job: it may be another's
    assert (tmp_path / "staging" / "notes-1").exists()
