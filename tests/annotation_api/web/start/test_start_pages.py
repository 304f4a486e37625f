"""Jobs and pipelines made on a page: every setting is asked, what is wrong stands beside its field, twice is once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.config import CONFIGS, Stage, load_preset
from alignment.shared.stage_names import ON_DATA
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Job, JobState, Role
from annotation_api.jobs import settings_form
from annotation_api.jobs.settings_form import COMMON, UNITS, fields_of, read_settings
from tests.annotation_api.web.test_pages import Page

BrowserOf = Callable[[Role], TestClient]


@pytest.mark.parametrize("stage", list(COMMON))
def test_every_setting_has_a_field_with_its_sentence_default_and_bounds(browser_of: BrowserOf, stage: Stage) -> None:
    html = browser_of(Role.ENGINEER).get("/jobs/new", params={"stage": stage.value, "preset": "toy"}).text
    page, config = Page(html), load_preset("toy", stage)
    for name, field in type(config).model_fields.items():
        assert (field.description or "").replace("`", "") in page.text, name
    asked = {attributes["name"] for _, attributes in page.tags if "name" in attributes}
    assert {field.name for field in fields_of(stage, {}).values() if field.kind != "table"} <= asked
    assert len(COMMON[stage]) == 8
    folded = html.index('class="more"')
    assert all(html.index(f'name="set.{name}"') < folded for name in COMMON[stage])
    learning = re.search(r'name="set.learning_rate" value="" placeholder="([^"]+)"', html)
    assert stage is Stage.SAMPLE or (learning and float(learning[1]) == config.learning_rate)


def test_a_field_says_what_its_class_checks() -> None:
    fields = fields_of(Stage.PPO, load_preset("toy", Stage.PPO).model_dump(mode="json"))
    assert fields["clip_range"].bounds == (("above", "0"),)
    assert fields["heldout_fraction"].bounds == (("at least", "0"), ("below", "1"))
    assert fields["rollout_engine"].choices == ("generate", "continuous", "vllm")
    assert (fields["lora"].kind, fields["lora"].default, fields["lora.rank"].default) == ("switch", "off", "16")
    assert fields["accept_reward_model"].kind == "text"
    assert (fields["max_length"].unit, fields["max_kl"].unit) == ("tokens", "nats")
    everywhere = {path for stage in Stage for path in fields_of(stage, {})}
    assert UNITS.keys() <= everywhere  # a setting that was renamed takes its unit along


@pytest.mark.parametrize(
    ("typed", "config"),
    [
        ({"set.kl_coef": " 0.1 ", "set.updates": ""}, {"kl_coef": 0.1}),
        ({"set.lora": "on", "set.lora.rank": "4"}, {"lora": {"rank": 4}}),
        ({"set.lora": "off", "set.lora.rank": "4"}, {"lora": None}),
        ({"set.lora.targets": '["q_proj"]'}, {"lora": {"targets": ["q_proj"]}}),
        ({"set.alarms.stop_on": '["length"]'}, {"alarms": {"stop_on": ["length"]}}),
        ({"set.score_clip": "unset"}, {"score_clip": None}),
        ({"set.accept_reward_model": "12345 67890\r\nlines"}, {"accept_reward_model": "12345 67890\nlines"}),
        ({"set.accept_reward_model": "1234567890"}, {"accept_reward_model": "1234567890"}),  # text stays text
        ({"set.clip_values": "false", "set.kl_in": "loss"}, {"clip_values": False, "kl_in": "loss"}),
        ({"set.no_such": "x"}, {"no_such": "x"}),  # the door says what it thinks of it
    ],
)  # fmt: skip
def test_a_form_is_read_back_as_settings(typed: dict[str, str], config: dict[str, Any]) -> None:
    assert read_settings(Stage.PPO, typed) == config


def sft(things: dict[str, Any], **more: str) -> dict[str, str]:
    given = {"in.model": f"model:{things['base']}", "in.demonstrations": f"dataset:{things['demonstrations']}"}
    return {"stage": "sft", "key": "k1", "preset": "toy", "gpus": "0"} | given | more


def test_a_job_is_made_by_its_form_and_twice_is_once(
    browser_of: BrowserOf, session: Session, things: dict[str, Any]
) -> None:
    browser = browser_of(Role.ENGINEER)
    page = browser.get("/jobs/new").text
    assert f'value="model:{things["base"]}"' in page
    assert 'value="alias:champion"' in page
    form = sft(things) | {"set.epochs": "1.5", "name": "first", "tags": "toy, a", "notes": "why\r\nnot"}
    answers = [browser.post("/jobs", data=form) for _ in range(2)]
    job = session.scalars(select(Job)).one()
    assert [(each.status_code, each.headers["location"]) for each in answers] == [(303, f"/jobs/{job.id}")] * 2
    assert (job.config["epochs"], job.config["learning_rate"], job.gpus) == (1.5, 0.0005, 0)
    assert (job.name, job.tags, job.notes) == ("first", ["a", "toy"], "why\nnot")
    assert browser.post("/jobs", data=form | {"set.epochs": "2.5"}).status_code == 303  # after the button Back
    assert sorted(each.config["epochs"] for each in session.scalars(select(Job))) == [1.5, 2.5]


@pytest.mark.parametrize(
    ("typed", "name", "message"),
    [
        ({"set.epochs": "0"}, "set.epochs", "greater than 0"),
        ({"set.lora.rank": "x"}, "set.lora.rank", "no whole number"),
        ({"in.model": ""}, "in.model", "Field required"),
        ({"in.model": "alias:nobody"}, "in.model", "There is no such alias"),
        ({"gpus": "many"}, "gpus", "no number"),
        ({"tags": "a;b"}, "tags", "digits, dots, colons"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(
    browser_of: BrowserOf, session: Session, things: dict[str, Any], typed: dict[str, str], name: str, message: str
) -> None:
    answer = browser_of(Role.ENGINEER).post("/jobs", data=sft(things) | {"set.seed": "42"} | typed)
    assert answer.status_code == 422
    page = Page(answer.text)
    field = next(attributes for _, attributes in page.tags if attributes.get("name") == name)
    assert name == "gpus" or name == "tags" or field.get("aria-invalid") == "true"
    assert message in page.text
    assert page.fields["set.seed"] == "42"
    assert session.scalars(select(Job)).all() == []


def test_the_estimate_is_that_of_the_dry_run(browser_of: BrowserOf, session: Session, things: dict[str, Any]) -> None:
    browser = browser_of(Role.ENGINEER)
    html = browser.post("/jobs/estimate", data=sft(things) | {"set.epochs": "10"}).text
    page = Page(html)
    assert "Steps25" in re.sub(r"\s+", "", page.text)  # 40 rows, 10 passes, batches of 16
    typed = json.loads(next(a["data-typed"] or "" for _, a in page.tags if "data-typed" in a))
    assert (typed["set.learning_rate"], typed["set.batch_size"]) == ("0.0005", "16")
    refused = Page(browser.post("/jobs/estimate", data=sft(things) | {"set.epochs": "0"}).text)
    assert "config.epochs" in refused.text
    checked = browser.post("/jobs", data=sft(things) | {"do": "check"})  # without scripts
    assert checked.status_code == 200
    assert "Steps5" in re.sub(r"\s+", "", Page(checked.text).text)
    assert session.scalars(select(Job)).all() == []


def test_a_new_job_begins_with_the_settings_of_another(
    browser_of: BrowserOf, session: Session, things: dict[str, Any]
) -> None:
    browser = browser_of(Role.ENGINEER)
    browser.post("/jobs", data=sft(things) | {"set.epochs": "1.5"})
    job = session.scalars(select(Job)).one()
    job.allow_cpu = True
    session.commit()
    page = Page(browser.get("/jobs/new", params={"like": str(job.id)}).text)
    assert "checked" in next(a for _, a in page.tags if a.get("name") == "allow_cpu")
    assert page.fields["set.epochs"] == "1.5"
    assert page.fields["set.learning_rate"] == "0.0005"  # the toy preset's
    assert page.fields["set.max_grad_norm"] == ""
    assert "selected" in next(a for _, a in page.tags if a.get("value") == f"model:{things['base']}")


def test_a_pipeline_is_made_by_its_form_and_twice_is_once(
    browser_of: BrowserOf, session: Session, things: dict[str, Any]
) -> None:
    browser = browser_of(Role.ENGINEER)
    form = {"in.model": f"model:{things['base']}", "in.demonstrations": f"dataset:{things['demonstrations']}"}
    form |= {"in.preferences": f"dataset:{things['rankings']}", "preset": "toy", "key": "p", "gpus": "0"}
    form |= {"ppo.set.kl_coef": "0.3", "reward.set.epochs": "2", "name": "toy run"}
    estimate = Page(browser.post("/pipelines/estimate", data=form).text).text
    assert re.sub(r"\s+", "", estimate).count("Steps") == 3
    answers = [browser.post("/pipelines", data=form) for _ in range(2)]
    assert {each.status_code for each in answers} == {303}
    jobs = {job.stage: job for job in session.scalars(select(Job))}
    assert jobs.keys() == {Stage.SFT, Stage.REWARD, Stage.PPO}
    assert (jobs[Stage.PPO].config["kl_coef"], jobs[Stage.REWARD].config["epochs"]) == (0.3, 2)
    wrong = browser.post("/pipelines", data=form | {"ppo.set.kl_coef": "-1"})
    assert wrong.status_code == 422
    field = next(a for _, a in Page(wrong.text).tags if a.get("name") == "ppo.set.kl_coef")
    assert field.get("aria-invalid") == "true"


def test_a_failed_job_goes_on_with_other_settings_from_its_page(
    browser_of: BrowserOf, session: Session, things: dict[str, Any]
) -> None:
    browser = browser_of(Role.ENGINEER)
    browser.post("/jobs", data=sft(things))
    job = job_store.claim(session, "host:1", 60)
    assert job is not None
    job_store.fail(session, job.id, job.epoch, Failure(ErrorKind.DIVERGED, "The loss is NaN."), Again.NEVER)
    assert f'href="/jobs/{job.id}/again"' in browser.get(f"/jobs/{job.id}").text
    page = Page(browser.get(f"/jobs/{job.id}/again").text)
    assert next(a["placeholder"] for _, a in page.tags if a.get("name") == "set.learning_rate") == "0.0005"
    wrong = browser.post(f"/jobs/{job.id}/retry", data={"set.learning_rate": "2"})
    assert wrong.status_code == 422
    assert Page(wrong.text).fields["set.learning_rate"] == "2"
    assert job.state is JobState.FAILED
    right = browser.post(f"/jobs/{job.id}/retry", data={"set.learning_rate": "0.0001"})
    assert (right.status_code, right.headers["location"]) == (303, f"/jobs/{job.id}")
    session.refresh(job)
    assert (job.state, job.config["learning_rate"]) == (JobState.QUEUED, 0.0001)


def test_the_words_of_forms_are_the_same_on_both_sides() -> None:
    assert COMMON.keys() == CONFIGS.keys() - ON_DATA  # which start on the page of their data
    assert settings_form.PREFIX == "set."
