"""What a person looks for leads: the name that a job was given, the project and the date of a snapshot."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy.orm import Session

from alignment.shared import gate
from alignment.shared.config import GateConfig, Stage
from annotation_api.db.tables import DatasetKind, Job, JobEventRow, ModelKind, ModelVersion, Role, Snapshot, made_name
from annotation_api.web.runs import titles
from tests.annotation_api.web.test_pages import Page


@pytest.fixture
def made(make: Any, session: Session) -> tuple[Job, ModelVersion]:
    """A job with a name, and the model that it made."""
    job = make.job(Stage.SFT)
    job.name = "polite start"
    model = make.model(ModelKind.SFT, name=made_name(Stage.SFT, job.id))
    model.job_id = job.id
    session.flush()
    return job, model


def test_a_model_is_called_as_its_job_until_it_has_a_name_of_its_own(
    make: Any, session: Session, made: tuple[Job, ModelVersion]
) -> None:
    job, model = made
    plain = make.model(name="tiny base")
    assert titles.of_models(session, [model.id, plain.id]) == {model.id: "polite start", plain.id: "tiny base"}
    assert titles.of_nodes(session, [model.id, job.id]) == {model.id: "polite start", job.id: "polite start"}
    model.name = "champion of June"
    session.flush()
    assert titles.of_models(session, [model.id]) == {model.id: "champion of June"}
    model.name, job.name = made_name(Stage.SFT, job.id), None
    session.flush()
    assert titles.of_models(session, [model.id]) == {model.id: f"sft-{str(job.id)[:8]}"}


def test_every_page_that_names_the_model_names_its_job(browser_of: Any, made: tuple[Job, ModelVersion]) -> None:
    job, model = made
    browser = browser_of(Role.ADMIN)
    for path in ("/", "/models", "/models?name=polite", f"/models/{model.id}", "/compare", f"/jobs/{job.id}"):
        html = browser.get(path).text
        assert re.search(r">\s*polite start\b", html), path
        assert model.name in html, path
    assert "polite start" in browser.get("/jobs").text


def test_a_snapshot_is_chosen_by_its_source_its_date_and_its_rows(
    browser_of: Any, make: Any, session: Session, made: tuple[Job, ModelVersion]
) -> None:
    project = make.project(name="Helpful answers")
    sources = {"project": str(project.id)}
    frozen = Snapshot(
        kind=DatasetKind.RANKINGS, sources=sources, sha256="5e" * 32, rows=1234, created_by=project.created_by
    )
    session.add(frozen)
    session.flush()
    options = _options(browser_of(Role.ENGINEER).get("/jobs/new?stage=reward").text)
    day = f"{frozen.created_at:%Y-%m-%d %H:%M}"
    assert options[f"snapshot:{frozen.id}"] == f"Helpful answers {day} · rows: 1,234 · rankings · snapshot"
    assert options[f"model:{made[1].id}"] == f"polite start · sft · model · {made[1].name}"


def _options(html: str) -> dict[str, str]:
    return {
        value: text.strip() for value, text in re.findall(r'<option value="(\w+:[^"]+)"[^>]*>([^<]*)</option>', html)
    }


def test_what_happened_says_each_state_once(browser_of: Any, make: Any, session: Session) -> None:
    job = make.job()
    told: tuple[dict[str, Any], ...] = (
        {"state": "starting", "from": "queued"},
        {"state": "starting", "reason": "loading"},
    )
    session.add_all(
        JobEventRow(job_id=job.id, seq=100 + n, epoch=1, type="state", data=data) for n, data in enumerate(told)
    )
    session.flush()
    log = browser_of(Role.REVIEWER).get(f"/jobs/{job.id}").text.partition('data-part="notes"')[2]
    assert log.count(">starting<") == 1
    assert "loading" in Page(log).text


def test_the_gates_warning_is_retold_in_the_language_of_the_page(browser_of: Any, make: Any, session: Session) -> None:
    """As the stage noted it: the model is refused, and used all the same."""
    measured = {"heldout_accuracy": 0.55, "heldout_accuracy_low": 0.45, "heldout_accuracy_high": 0.65}
    model = make.model(ModelKind.REWARD, metrics=measured)
    config = {"accept_reward_model": "Only a try."}
    job = make.job(Stage.PPO, config=config, inputs={"reward_model": {"model": str(model.id)}})
    said = gate.decide(measured, GateConfig(), "Only a try.").words
    data = {"message": str(said), "level": "warning"}
    session.add(JobEventRow(job_id=job.id, seq=100, epoch=1, type="note", data=data))
    session.flush()
    browser = browser_of(Role.ADMIN)
    assert str(said) in Page(browser.get(f"/jobs/{job.id}").text).text
    browser.post("/preferences", data={"language": "zh", "back": "/"})
    text = Page(browser.get(f"/jobs/{job.id}").text).text
    assert "门槛拒绝此奖励模型：其留出集准确率为 55.0%（45.0% 到 65.0%）" in text
    assert "原因是：Only a try." in text
    assert "not above chance" not in text
