"""What jobs are made of, and jobs in every state."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.forms import Question, QuestionsForm, RankingForm, Rule, RulesForm
from annotation_api.db.tables import (
    Alias,
    DatasetKind,
    FeedbackKind,
    ModelKind,
    Role,
    Submission,
)
from tests.support.jobs import ranking

QUESTIONS = QuestionsForm(questions=(Question(id="true", text="Is it true?", kind="yes_no"),))


@pytest.fixture
def things(make: Any, session: Session, tmp_path: Path) -> dict[str, Any]:
    """One of each input that a job can have."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    demonstrations = [Demonstration(prompt=Prompt.from_text(f"Q{i}?"), response="a") for i in range(40)]
    base = make.model(path=str(folder))
    session.add(Alias(name="champion", model_id=base.id))
    soft = folder / "soft"
    soft.mkdir(exist_ok=True)
    (soft / "adapter_config.json").write_text('{"peft_type": "PREFIX_TUNING"}')
    return {
        "base": base.id,
        "reward": make.model(ModelKind.REWARD, path=str(folder)).id,
        "soft": make.model(path=str(soft)).id,
        "gone": make.model(path=str(folder / "gone")).id,
        "demonstrations": make.dataset(DatasetKind.DEMONSTRATIONS, demonstrations).id,
        "rankings": make.dataset(DatasetKind.RANKINGS, [ranking(i) for i in range(30)]).id,
        "few": make.dataset(DatasetKind.PREFERENCES, [ranking(i) for i in range(3)]).id,
        "ties": make.dataset(DatasetKind.RANKINGS, [ranking(i, tie=True) for i in range(30)]).id,
        "prompts": make.dataset(DatasetKind.PROMPTS, [Prompt.from_text(f"P{i}?") for i in range(10)]).id,
        "project": make.project().id,
        "asks nothing": make.project(forms=[]).id,
        "nothing": uuid.uuid4(),
    }


@pytest.fixture
def body(things: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """`body("reward", rankings={"dataset": "few"})`: a good job with parts replaced; words name things."""

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [named(inner) for inner in value]
        return str(things[value]) if value in things else value

    good: dict[str, Any] = {
        "sft": {"model": {"model": "base"}, "demonstrations": {"dataset": "demonstrations"}},
        "sample": {"models": [{"model": "base"}], "prompts": {"dataset": "prompts"}},
        "reward": {"model": {"model": "base"}, "rankings": {"dataset": "rankings"}},
        "ppo": {"model": {"model": "base"}, "reward_model": {"model": "reward"}, "prompts": {"dataset": "prompts"}},
    }

    def make(stage: str, config: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
        merged = {key: named(value) for key, value in (good[stage] | inputs).items()}
        return {"stage": stage, "inputs": merged, "config": config or {}}

    return make


@pytest.fixture
def talkative(make: Any) -> Any:
    """A project with 30 rankings, an answer and a verdict."""
    forms = [RankingForm(), QUESTIONS, RulesForm(rules=(Rule(id="threats", text="No threats."),))]
    project = make.project(forms=forms)
    for number in range(30):
        make.submission(make.task(make.prompt(project, f"Question {number}?")), [[0], [1]])
    said = {FeedbackKind.QUESTIONS: {"answers": {"true": True}}, FeedbackKind.RULES: {"verdicts": {"threats": "kept"}}}
    for kind, payload in said.items():
        task = make.task(make.prompt(project, f"{kind}?"), ("only",), kind=kind)
        shown = make.assignment(task, make.person(Role.ANNOTATOR))
        row = Submission(id=uuid.uuid4(), assignment_id=shown.id, kind=kind, payload=payload, payload_hash="0" * 64)
        make.session.add(row)
    make.session.flush()
    return project
