"""Jobs and models side by side: what differs, final numbers with intervals, the same prompts; every limit is said."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.config import PPOConfig, SFTConfig, Stage
from alignment.shared.intervals import interval95
from annotation_api.db.tables import Artifact, Job, JobState, Metric, ModelKind, ModelParent, ModelVersion, Role
from annotation_api.jobs.comparison.promotion import NUMBER, promotion
from annotation_api.jobs.comparison.schemas import ComparedNumber
from tests.support.jobs import As


def sample(prompt: str, before: str, after: str, criterion: str, gain: float) -> dict[str, Any]:
    scores = {"score_before": 1.0, "score_after": 1.0 + gain}
    return {"prompt": prompt, "before": before, "after": after, "criterion": criterion} | scores


SAMPLES = [
    sample("P1?", "sft one", "first one", "helpful", 1.0),
    sample("P2?", "sft two", "first two", "helpful", 2.0),
    sample("P3?", "sft three", "first three", "honest", -1.0),
]


@pytest.fixture
def runs(make: Any, session: Session) -> list[Job]:
    """Two PPO jobs that differ in one setting, with results and curves; and the policies that they made."""
    made = []
    start = make.model(ModelKind.SFT, name="start")
    for number, kl_coef in enumerate((0.05, 0.2), start=1):
        config = PPOConfig(kl_coef=kl_coef).model_dump(mode="json")
        job = make.job(Stage.PPO, config=config, inputs={"model": {"model": str(start.id)}})
        said = [row | {"after": row["after"].replace("first", ("first", "second")[number - 1])} for row in SAMPLES]
        job.result = {"metrics": {"heldout_kl": kl_coef * 10, "alarms": 0.0}, "details": {"samples": said}}
        job.name, job.state = f"run {number}", JobState.SUCCEEDED
        for step in range(1, 4):
            session.add(Metric(job_id=job.id, epoch=1, phase="ppo", step=step, name="kl", value=kl_coef * step))
        policy = make.model(ModelKind.POLICY, name=f"policy {number}", job_id=job.id, metrics={"heldout_kl": kl_coef})
        session.flush()
        session.add(ModelParent(model_id=policy.id, parent_id=start.id, relation="start"))
        made.append(job)
    session.flush()
    return made


def compared(as_: As, kind: str, things: list[Any]) -> dict[str, Any]:
    answer = as_(Role.REVIEWER).get(f"/v1/{kind}s:compare", params={kind: [str(each.id) for each in things]})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_jobs_differ_in_settings_numbers_and_curves(as_: As, runs: list[Job], make: Any) -> None:
    found = compared(as_, "job", runs)
    assert [side["label"] for side in found["jobs"]] == ["run 1", "run 2"]
    assert found["settings"] == [{"name": "kl_coef", "values": [0.05, 0.2]}]
    other = make.model(ModelKind.SFT, name="other start")
    runs[1].inputs = {"model": {"model": str(other.id)}}
    start = runs[0].inputs["model"]["model"]
    settings = compared(as_, "job", runs)["settings"]
    assert settings[0] == {"name": "model", "values": [f"start ({start[:8]})", f"other start ({str(other.id)[:8]})"]}
    numbers = {row["name"]: row["values"] for row in found["numbers"]}
    assert [value["value"] for value in numbers["heldout_kl"]] == [0.5, 2.0]
    helpful = numbers["score_gain (helpful)"][0]
    assert helpful["value"] == 1.5
    # Two gains of 1 and 2: their mean's variance is (0.25 + 0.25) / 4, and 1.96 of its root is 0.693.
    assert (round(helpful["low"], 3), round(helpful["high"], 3)) == (0.807, 2.193)
    assert numbers["score_gain (honest)"][0] == {"value": -1.0, "low": None, "high": None}
    (chart,) = [chart for group in found["charts"] for chart in group["charts"]]
    ends = [(one["label"], *one["points"][-1]) for one in chart["series"]]
    assert ends == [("run 1", 3, pytest.approx(0.15)), ("run 2", 3, pytest.approx(0.6))]
    assert found["notes"] == []


def test_a_model_named_by_the_job_that_made_it_is_no_other_model(as_: As, runs: list[Job], make: Any) -> None:
    sft = make.job(Stage.SFT)
    model = make.model(ModelKind.SFT, name="one start", job_id=sft.id)
    runs[0].inputs, runs[1].inputs = {"model": {"job": str(sft.id)}}, {"model": {"model": str(model.id)}}
    assert compared(as_, "job", runs)["settings"] == [{"name": "kl_coef", "values": [0.05, 0.2]}]


def test_pages_call_a_job_without_a_name_by_its_stage_in_their_language(
    browser_of: Any, person: Any, runs: list[Job], make: Any
) -> None:
    engineer = person(Role.ENGINEER)
    engineer.language = "zh"
    reward = make.job(Stage.REWARD)
    runs[0].name, runs[1].name = None, None
    runs[0].inputs = {"reward_model": {"job": str(reward.id)}}
    chosen, browser = {"job": [str(runs[0].id), str(reward.id)]}, browser_of(engineer)
    page = browser.get("/compare", params=chosen).text
    assert f'<a href="/jobs/{reward.id}">奖励模型</a>' in page
    assert f"奖励模型 ({str(reward.id)[:8]})" in page
    assert f"> PPO {str(runs[1].id)[:8]}</label>" in browser.get("/compare").text
    (chart,) = [
        chart for group in browser.get("/compare/curves", params=chosen).json()["groups"] for chart in group["charts"]
    ]
    assert [one["label"] for one in chart["series"]] == ["PPO"]
    assert f"奖励模型 {str(reward.id)[:8]}" in browser.get(f"/jobs/{runs[0].id}").text


def test_gains_over_prompts_without_a_criterion_are_named_in_the_pages_language(
    browser_of: Any, person: Any, runs: list[Job]
) -> None:
    engineer = person(Role.ENGINEER)
    engineer.language = "zh"
    assert runs[0].result is not None
    samples = [{name: value for name, value in row.items() if name != "criterion"} for row in SAMPLES]
    runs[0].result = runs[0].result | {"details": {"samples": samples}}
    page = browser_of(engineer).get("/compare", params={"job": [str(run.id) for run in runs]}).text
    assert "分数增益 (所有提示)" in page
    assert "分数增益 (helpful)" in page


def test_what_limits_a_comparison_is_said(as_: As, runs: list[Job], make: Any, session: Session) -> None:
    sft = make.job(Stage.SFT, config=SFTConfig().model_dump(mode="json"))
    session.add(
        Artifact(job_id=runs[0].id, name="model.safetensors", sha256="0" * 64, size=1, removed_at=runs[0].created_at)
    )
    session.flush()
    notes = compared(as_, "job", [runs[0], sft])["notes"]
    assert notes == [
        "They are of different stages: only what has the same name stands side by side.",
        "Files of run 1 were removed; its settings, numbers and curves are still here.",
        "sft has not succeeded: it has no final numbers yet.",
    ]


@pytest.mark.parametrize("count", [0, 1, 9])
def test_two_to_eight_different_jobs_are_compared(as_: As, make: Any, count: int) -> None:
    keys = [str(make.job().id) for _ in range(count)]
    answer = as_(Role.ENGINEER).get("/v1/jobs:compare", params={"job": keys + keys[:1]})
    assert answer.status_code == 422
    assert as_(Role.ENGINEER).get("/v1/jobs:compare", params={"job": [str(uuid.uuid4())] * 2}).status_code == 422


def test_a_job_that_does_not_exist_is_404(as_: As, make: Any) -> None:
    keys = [str(make.job().id), str(uuid.uuid4())]
    assert as_(Role.ENGINEER).get("/v1/jobs:compare", params={"job": keys}).status_code == 404


def test_models_reply_to_the_same_prompts(as_: As, runs: list[Job], session: Session) -> None:
    models = {row.name: row for row in session.scalars(select(ModelVersion))}
    found = compared(as_, "model", [models["start"], models["policy 1"], models["policy 2"]])
    assert [row["prompt"] for row in found["prompts"]] == ["P1?", "P2?", "P3?"]
    assert found["prompts"][0]["replies"] == ["sft one", "first one", "second one"]
    numbers = {row["name"]: row["values"] for row in found["numbers"]}
    assert [value and value["value"] for value in numbers["heldout_kl"]] == [None, 0.05, 0.2]
    assert round(numbers["mean_reply_characters"][0]["value"], 2) == 7.67
    assert found["notes"] == []


def test_reward_models_stand_with_accuracy_interval_calibration_and_gate(as_: As, make: Any) -> None:
    measured = {"heldout_accuracy": 0.7, "heldout_accuracy_low": 0.66, "heldout_accuracy_high": 0.74}
    measured |= {"heldout_calibration_error": 0.04, "heldout_prompts": 300}
    good = make.model(ModelKind.REWARD, name="good", metrics=measured)
    weak = make.model(ModelKind.REWARD, name="weak", metrics=measured | {"heldout_accuracy_low": 0.45})
    found = compared(as_, "model", [good, weak])
    numbers = {row["name"]: row["values"] for row in found["numbers"]}
    assert numbers["heldout_accuracy"][0] == {"value": 0.7, "low": 0.66, "high": 0.74}
    assert numbers["heldout_calibration_error"][1]["value"] == 0.04
    assert [value["value"] for value in numbers["passes_the_gate"]] == [1.0, 0.0]


def test_reward_models_agree_on_the_pairs_that_both_were_measured_on(as_: As, make: Any, session: Session) -> None:
    """Of the three pairs in common, on two prompts, they prefer the same in 1.5: a tie is half an agreement."""
    prefers = [{"a-1": 1.0, "a-2": 0.0, "b-1": 1.0, "c-1": 1.0}, {"a-1": 1.0, "a-2": 1.0, "b-1": 0.5, "d-1": 0.0}]
    models = []
    for number, found in enumerate([*prefers, {}]):
        job = make.job(Stage.REWARD)
        job.result = {"metrics": {}, "details": {"heldout_prefers": found} if found else {}}
        models.append(make.model(ModelKind.REWARD, name=f"judge {number}", job_id=job.id))
    session.flush()
    (row,) = compared(as_, "model", models)["numbers"]
    assert row["name"] == "agrees_with_the_first"
    assert row["values"][0] is row["values"][2] is None
    assert row["values"][1]["value"] == 0.5
    low, high = interval95([1.0, 0.5], [2, 1])  # a prompt is one observation
    assert (row["values"][1]["low"], row["values"][1]["high"]) == pytest.approx((low, high))


def test_two_reward_models_are_told_whether_the_second_is_promoted(as_: As, make: Any) -> None:
    sure = {"comparisons": 500, "annotator_agreement": 0.8}
    old, new = (
        make.model(ModelKind.REWARD, name=name, metrics=sure | _accuracy(value, 0.03))
        for name, value in (("old", 0.65), ("new", 0.75))
    )
    there, back = (compared(as_, "model", pair)["promotion"] for pair in ([old, new], [new, old]))
    assert there["because"] == "heldout_accuracy is +0.100, at least +0.058 by its 95 % interval."
    assert (there["met"], back["met"]) == (True, False)
    third = make.model(ModelKind.REWARD, name="third", metrics=sure)
    assert compared(as_, "model", [old, new, third])["promotion"] is None


def _accuracy(value: float, half: float) -> dict[str, float]:
    name = "heldout_accuracy"
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def number(value: float) -> ComparedNumber:
    return ComparedNumber(value=value, low=value - 0.03, high=value + 0.03)


@pytest.mark.parametrize(
    ("kind", "old", "new", "met", "because"),
    [
        (ModelKind.POLICY, 0.55, 0.65, True, "human_win_rate is +0.100, at least +0.058"),
        (ModelKind.POLICY, 0.60, 0.63, False, "which may be chance: its 95 % interval begins at -0.012"),
        (ModelKind.POLICY, 0.60, None, False, "The challenger has no human_win_rate with an interval yet."),
        (ModelKind.REWARD, 0.60, 0.70, False, "The gate refuses the challenger."),
    ],
)
def test_a_challenger_must_be_better_beyond_chance(
    kind: ModelKind, old: float, new: float | None, met: bool, because: str
) -> None:
    name = NUMBER[kind]
    found = promotion((kind, {name: number(old)}), (kind, {name: number(new)} if new else {}))
    assert found is not None
    assert found.met is met
    assert because in found.because


def test_models_of_two_kinds_and_base_models_are_not_promoted() -> None:
    assert promotion((ModelKind.POLICY, {}), (ModelKind.REWARD, {})) is None
    assert promotion((ModelKind.SFT, {}), (ModelKind.SFT, {})) is None


def test_the_pages_show_both(browser_of: Any, runs: list[Job], session: Session) -> None:
    browser = browser_of(Role.REVIEWER)
    assert "run 1" in browser.get("/compare").text
    html = browser.get("/compare", params={"job": [str(job.id) for job in runs]}).text
    assert "kl_coef" in html
    assert "0.807 – 2.193" in html
    curves = browser.get("/compare/curves", params={"job": [str(job.id) for job in runs]}).json()
    assert [len(chart["series"]) for group in curves["groups"] for chart in group["charts"]] == [2]
    keys = [str(row.id) for row in session.scalars(select(ModelVersion).order_by(ModelVersion.name))]
    html = browser.get("/compare", params={"model": keys}).text
    assert "<mark>" in html
    refused = browser.get("/compare", params={"job": [str(runs[0].id)]})
    assert refused.status_code == 422
    assert "Name 2 to 8 different ones" in refused.text
