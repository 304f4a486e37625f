"""Show: the gate refuses a reward model, and the job's own page lets an engineer say why it is used all the same.

In a real Chromium, with the stage's own gate: a refused PPO job fails, its page's button sends the reason, and the
next attempt passes the gate and says so.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared import gate
from alignment.shared.config import PPOConfig, Stage
from alignment.shared.errors import StageError
from alignment.shared.events import NullReporter
from annotation_api.db.engine import session_factory
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.tables import Job, JobState, ModelKind, Role
from annotation_api.http import auth
from tests.support.jobs import ranking
from workers.stage.faults import kind_of

pytestmark = pytest.mark.browser
Sessions = sessionmaker[Session]
WHY = "The held-out set is tiny; people will judge what comes of it."
WEAK = {"heldout_accuracy": 0.52, "heldout_accuracy_low": 0.46, "heldout_accuracy_high": 0.58, "heldout_prompts": 200}


@pytest.fixture
def sessions(module_engine: Engine) -> Sessions:
    return session_factory(module_engine)


@pytest.fixture
def page(desk_url: str, desk_chromium: Browser, sessions: Sessions, factory: Any) -> Iterator[Page]:
    with sessions.begin() as session:
        token = auth.start_session(session, factory(session).person(Role.ENGINEER))
    context = desk_chromium.new_context(base_url=desk_url, viewport={"width": 1280, "height": 900})
    context.add_cookies([{"name": "rankloop", "value": token, "url": desk_url}])
    page, faults = context.new_page(), list[str]()
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    context.close()
    assert faults == []


@pytest.fixture
def job(sessions: Sessions, factory: Any, tmp_path: Path) -> uuid.UUID:
    """PPO against a reward model that was trained in the same pipeline, so that the door could not know of it yet."""
    folder = tmp_path / "weak"
    folder.mkdir()
    (folder / gate.REPORT).write_text(json.dumps({"metrics": WEAK}))
    with sessions.begin() as session:
        make = factory(session)
        from annotation_api.db.snapshots import freeze
        from annotation_api.db.tables import DatasetKind

        person = make.person(Role.ENGINEER)
        rankings = make.dataset(DatasetKind.RANKINGS, [ranking(n) for n in range(30)], person)
        prompts = freeze.freeze_dataset(session, rankings.id, DatasetKind.PROMPTS, person.id)
        policy, judge = make.model(path=str(folder)), make.model(ModelKind.REWARD, path=str(folder))
        inputs = {"model": {"model": str(policy.id)}, "reward_model": {"model": str(judge.id)}}
        inputs["prompts"] = {"snapshot": str(prompts.id)}
        config = PPOConfig().model_dump(mode="json")
        found: Job = make.job(Stage.PPO, inputs=inputs, config=config, priority=900, created_by=person.id)
        return found.id


def attempt(sessions: Sessions, key: uuid.UUID, folder: Path) -> gate.Decision | None:
    """What an attempt does first: the stage's own question to the gate. None: refused, and the job has failed."""
    with sessions.begin() as session:
        job = job_store.claim(session, "host:1", 60)
        assert job is not None
        assert job.id == key
        settings = PPOConfig.model_validate(job.config)
        try:
            return gate.enforce(folder, settings.gate, settings.accept_reward_model, NullReporter())
        except StageError as refused:
            why = Failure(kind_of(refused), refused.cause, refused.next_step)
            job_store.fail(session, job.id, job.epoch, why, Again.NEVER)
            return None


def test_the_gate_is_overruled_by_the_button_of_the_page(
    page: Page, sessions: Sessions, job: uuid.UUID, tmp_path: Path
) -> None:
    folder = tmp_path / "weak"
    assert attempt(sessions, job, folder) is None
    page.goto(f"/jobs/{job}")
    expect(page.locator('[data-part="error"]')).to_contain_text("is not above chance with its interval")
    expect(page.locator('[data-part="error"]')).to_contain_text("accept_reward_model")
    page.get_by_label("Why it is to be used all the same").fill(WHY)
    page.get_by_role("button", name="Use it all the same, and go on").click()
    expect(page.locator("#live .state")).to_have_text("queued")
    expect(page.locator('[data-part="notes"]')).to_contain_text(WHY)
    decision = attempt(sessions, job, folder)
    assert decision is not None
    assert (decision.outcome, decision.accepted_because) == (gate.GateOutcome.ACCEPTED, WHY)
    with sessions() as session:
        assert session.get_one(Job, job).state is JobState.STARTING
