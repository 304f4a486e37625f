"""Sampled responses become tasks: each different text once, none left over, and what gave none is counted."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.events import StageResult
from alignment.shared.records import Prompt, canonical_json
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import LeaseLost
from annotation_api.db.tables import ModelKind, PromptRow, ResponseRow, Task, TaskResponse
from workers.attempt.candidates import Dealt, add_candidates
from workers.attempt.commit import Published, commit
from workers.attempt.inputs import Resolved
from workers.staging import Folders

PROMPTS = [Prompt.from_text(words) for words in ("Where is the mill?", "Who bakes?", "What is red?")]


def test_sampled_responses_become_tasks_of_different_texts(make: Any, session: Session, tmp_path: Path) -> None:
    project, job = make.project(overlap=3), make.job(Stage.SAMPLE)
    known = make.prompt(project, PROMPTS[0])
    models = {"base": make.model().id, "sft": make.model(ModelKind.SFT).id}
    texts = [("base", 0, "by the river"), ("base", 0, "by the river"), ("sft", 0, "on the hill")]
    texts += [("base", 1, "the baker"), ("sft", 1, "the baker")]  # nothing to rank
    rows = [
        {"prompt": p, "model": str(models[model]), "text": words, "sampling": {"seed": p}} for model, p, words in texts
    ]
    (tmp_path / "responses.jsonl").write_text("".join(canonical_json(row) + "\n" for row in rows))
    (tmp_path / "prompts.jsonl").write_text("".join(prompt.canonical() + "\n" for prompt in PROMPTS))

    assert add_candidates(session, job, project.id, tmp_path, tmp_path / "prompts.jsonl") == Dealt(1, 0, 1, 2)

    prompts = session.scalars(select(PromptRow).where(PromptRow.project_id == project.id)).all()
    assert {row.key for row in prompts} == {prompt.key for prompt in PROMPTS}
    assert Prompt.model_validate_json(json.dumps(prompts[0].record)) in PROMPTS
    responses = session.scalars(select(ResponseRow).where(ResponseRow.job_id == job.id)).all()
    assert sorted((r.model_id, r.text, r.sampling["seed"]) for r in responses) == sorted(
        (models[model], words, p) for model, p, words in texts
    )
    (task,) = session.scalars(select(Task).where(Task.project_id == project.id))
    assert (task.prompt_id, task.overlap, task.kind) == (known.id, 3, "ranking")
    shown = select(ResponseRow.text).join(TaskResponse).where(TaskResponse.task_id == task.id)
    assert list(session.scalars(shown.order_by(TaskResponse.position))) == ["by the river", "on the hill"]


def test_several_tasks_share_out_the_different_texts(make: Any, session: Session, tmp_path: Path) -> None:
    project, job = make.project(), make.job(Stage.SAMPLE, config={"tasks_per_prompt": 2})
    model = str(make.model().id)
    rows = [{"prompt": 0, "model": model, "text": text, "sampling": {}} for text in "abacde"]
    (tmp_path / "responses.jsonl").write_text("".join(canonical_json(row) + "\n" for row in rows))
    (tmp_path / "prompts.jsonl").write_text(PROMPTS[0].canonical() + "\n")

    assert add_candidates(session, job, project.id, tmp_path, tmp_path / "prompts.jsonl") == Dealt(2, 0, 0, 1)

    shown = select(TaskResponse.task_id, ResponseRow.text).join(ResponseRow).order_by(TaskResponse.position)
    texts: dict[Any, str] = {}
    for task, letter in session.execute(shown.join(Task).where(Task.project_id == project.id)):
        texts[task] = texts.get(task, "") + letter
    assert sorted(texts.values()) == ["ace", "bd"]


def test_a_task_never_holds_more_than_a_person_ranks(make: Any, session: Session, tmp_path: Path) -> None:
    project, job = make.project(), make.job(Stage.SAMPLE)
    model = str(make.model().id)
    rows = [{"prompt": 0, "model": model, "text": text, "sampling": {}} for text in "abcdefghijk"]
    (tmp_path / "responses.jsonl").write_text("".join(canonical_json(row) + "\n" for row in rows))
    (tmp_path / "prompts.jsonl").write_text(PROMPTS[0].canonical() + "\n")

    assert add_candidates(session, job, project.id, tmp_path, tmp_path / "prompts.jsonl") == Dealt(2, 0, 0, 0)

    sizes = select(func.count()).select_from(TaskResponse).group_by(TaskResponse.task_id).join(Task)
    assert sorted(session.scalars(sizes.where(Task.project_id == project.id))) == [5, 6]


@pytest.mark.parametrize(
    ("letters", "wanted", "hands", "dealt"),
    [
        ("abcde", 3, ["ace", "bd"], Dealt(2, 1, 0, 0)),  # three would leave one with a single response
        ("abc", 2, ["abc"], Dealt(1, 1, 0, 0)),
        ("abab", 4, ["ab"], Dealt(1, 1, 0, 2)),
        ("aaaa", 2, [], Dealt(0, 0, 1, 3)),
        ("abcdefghijklmnopqrs", 1, ["adgjmps", "behknq", "cfilor"], Dealt(3, 0, 0, 0)),
    ],
)
def test_no_different_response_is_left_over(
    make: Any, session: Session, tmp_path: Path, letters: str, wanted: int, hands: list[str], dealt: Dealt
) -> None:
    project, job = make.project(), make.job(Stage.SAMPLE, config={"tasks_per_prompt": wanted})
    model = str(make.model().id)
    rows = [{"prompt": 0, "model": model, "text": text, "sampling": {}} for text in letters]
    (tmp_path / "responses.jsonl").write_text("".join(canonical_json(row) + "\n" for row in rows))
    (tmp_path / "prompts.jsonl").write_text(PROMPTS[0].canonical() + "\n")
    assert add_candidates(session, job, project.id, tmp_path, tmp_path / "prompts.jsonl") == dealt
    shown = select(TaskResponse.task_id, ResponseRow.text).join(ResponseRow).order_by(TaskResponse.position)
    texts: dict[Any, str] = {}
    for task, letter in session.execute(shown.join(Task).where(Task.project_id == project.id)):
        texts[task] = texts.get(task, "") + letter
    assert sorted(texts.values()) == hands


def test_what_was_not_dealt_out_is_said() -> None:
    assert Dealt(4, 0, 0, 0).said(2) == "4 tasks wait for annotators."
    told = Dealt(4, 3, 2, 5).said(2)
    assert all(each in told for each in ("3 prompts have fewer than 2", "2 prompts have none", "5 responses"))


def test_an_attempt_that_dies_inside_its_commit_doubles_no_task(make: Any, session: Session, tmp_path: Path) -> None:
    project, model = make.project(), str(make.model().id)
    job = make.job(Stage.SAMPLE, inputs={"project": str(project.id)}, priority=1000)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(PROMPTS[0].canonical() + "\n")
    rows = [{"prompt": 0, "model": model, "text": text, "sampling": {}} for text in "ab"]

    def attempt() -> Folders:
        claimed = job_store.claim(session, "host:1", 60)
        assert claimed is job
        job_store.mark_running(session, job.id, job.epoch)
        job_store.mark_committing(session, job.id, job.epoch)
        folders = Folders(tmp_path, job.id, job.epoch)
        folders.artifact.mkdir(parents=True)
        (folders.artifact / "responses.jsonl").write_text("".join(canonical_json(row) + "\n" for row in rows))
        return folders

    def end(folders: Folders) -> None:
        resolved = Resolved(job.stage, prompts, uuid.uuid4(), {}, {})
        commit(session, folders, resolved, Published("0" * 64, ()), StageResult("sample", {}))

    def stored() -> list[int | None]:
        mine = (select(func.count()).select_from(Task), select(func.count()).select_from(ResponseRow))
        return [session.scalar(query) for query in mine]

    killed = attempt()
    with session.begin_nested() as transaction:
        end(killed)
        assert stored() == [1, 2]
        transaction.rollback()  # as Postgres does when its client is gone
    assert stored() == [0, 0]
    job_store.release(session, job.id, killed.epoch)
    second = attempt()
    with pytest.raises(LeaseLost), session.begin_nested():
        end(killed)  # it was not dead, only slow
    end(second)
    assert job_store.is_committed(session, job.id, second.epoch)
    with pytest.raises(LeaseLost), session.begin_nested():
        end(second)
    assert stored() == [1, 2]
