"""What is refused at the door: by field, in words, and nothing is created."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.gpus import NOTHING_SHARED
from alignment.shared.stages import inputs_of
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import (
    ModelKind,
    Role,
)
from annotation_api.jobs import service
from tests.support.jobs import As, Body, counts, running

REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str, str]] = [
    # stage, inputs, config, pointer, a word
    ("sft", {}, {"learning_rte": 1}, "/config/learning_rte", "Did you mean 'learning_rate'"),
    ("sft", {}, {"learning_rate": -1}, "/config/learning_rate", "greater than 0"),
    ("sft", {}, {"batch_size": -4}, "/config/batch_size", "greater than or equal to 1"),
    ("sft", {}, {"lora": {"rnk": 4}}, "/config/lora/rnk", "Did you mean 'rank'"),
    ("sft", {}, {"method": "ia3", "lora": {}}, "/config", "method 'ia3' has no use for lora"),
    ("ppo", {}, {"method": "prefix"}, "/config", "method 'prefix' is for sft alone"),
    ("sft", {"model": {"model": "soft"}}, {}, "/inputs/model", "soft prompt (PREFIX_TUNING), which is no part"),
    ("sft", {}, {"batch_size": 10, "micro_batch_size": 4}, "/config", "multiple"),
    ("ppo", {}, {"kl_coef": -0.1}, "/config/kl_coef", "greater than or equal to 0"),
    ("sft", {"modl": {"model": "base"}}, {}, "/inputs/modl", "Did you mean 'model'"),
    ("sft", {"model": {"model": "nothing"}}, {}, "/inputs/model", "no such model"),
    ("sft", {"model": {"model": "no id"}}, {}, "/inputs/model/model", "is no id"),
    ("sft", {"model": {}}, {}, "/inputs/model", "exactly one"),
    ("sft", {"model": {"model": "base", "alias": "champion"}}, {}, "/inputs/model", "exactly one"),
    ("sft", {"model": {"alias": "nobody"}}, {}, "/inputs/model", "no such alias"),
    ("sft", {"model": {"job": "nothing"}}, {}, "/inputs/model", "no such job"),
    ("sft", {"model": {"model": "reward"}}, {}, "/inputs/model", "base or policy or sft"),
    ("sft", {"model": {"model": "gone"}}, {}, "/inputs/model", "folder"),
    ("reward", {"model": {"model": "reward"}}, {}, "/inputs/model", "base or policy or sft"),
    ("ppo", {"reward_model": {"model": "base"}}, {}, "/inputs/reward_model", "reward model is needed"),
    ("ppo", {"model": {"model": "reward"}}, {}, "/inputs/model", "base or policy or sft"),
    ("sft", {"demonstrations": {"dataset": "nothing"}}, {}, "/inputs/demonstrations", "no such data set"),
    ("sft", {"demonstrations": {"snapshot": "nothing"}}, {}, "/inputs/demonstrations", "no such snapshot"),
    ("sft", {"demonstrations": {"project": "project"}}, {}, "/inputs/demonstrations", "no better answers"),
    ("sft", {"demonstrations": {"dataset": "rankings"}}, {}, "/inputs/demonstrations", "holds rankings"),
    ("reward", {"rankings": {"dataset": "demonstrations"}}, {}, "/inputs/rankings", "holds demonstrations"),
    ("reward", {"rankings": {"dataset": "few"}}, {}, "/inputs/rankings", "at least 8"),
    ("reward", {"rankings": {"dataset": "ties"}}, {}, "/inputs/rankings", "Only 0 rankings"),
    ("reward", {}, {"heldout_fraction": 0.999999}, "/inputs/rankings", "Only 0 rankings"),
    ("reward", {}, {"heldout_fraction": 1.0}, "/config/heldout_fraction", "less than 1"),
    ("ppo", {}, {"max_length": 64, "max_response_length": 64}, "/config", "below max_length (64)"),
    ("reward", {"rankings": {"project": "project"}}, {}, "/inputs/rankings", "no judgements"),
    ("reward", {"rankings": {"project": "nothing"}}, {}, "/inputs/rankings", "no such project"),
    ("sample", {"models": []}, {}, "/inputs/models", "At least 1 must be given"),
    ("sample", {"models": [{"model": "base"}, {"model": "reward"}]}, {}, "/inputs/models/1", "reward model"),
    ("sample", {"project": "nothing"}, {}, "/inputs/project", "no such project"),
    (
        "sample",
        {"project": "project", "models": [{"model": "base"}, {"model": "base"}]},
        {"responses_per_prompt": 5},
        "/config/responses_per_prompt",
        "10 responses; a person ranks at most 9. At most 4 fit",
    ),
    (
        "sample",
        {"project": "project", "models": [{"model": "base"}] * 10},
        {"responses_per_prompt": 1},
        "/config/responses_per_prompt",
        "Name fewer models",
    ),
    ("sample", {"project": "asks nothing"}, {}, "/inputs/project", "does not ask for rankings"),
    ("ppo", {"project": "nothing"}, {}, "/inputs/project", "no such project"),
    ("ppo", {"project": "asks nothing"}, {}, "/inputs/project", "give it a form of the kind ranking"),
    ("sft", {"project": "project"}, {}, "/inputs/project", "nknown"),
    ("ppo", {}, {"compare_prompts": -1}, "/config/compare_prompts", "greater than or equal to 0"),
    ("sft", {"rankings": {"dataset": "rankings"}}, {}, "/inputs/rankings", "nknown"),
    ("sft", {}, {"epochs": 1e300}, "/config/epochs", "less than or equal to 1000"),
    ("sft", {}, {"seed": 2**40}, "/config/seed", "less than or equal to"),
    ("sft", {}, {"max_length": 10**30}, "/config/max_length", "less than or equal to"),
    ("ppo", {}, {"updates": 10**9}, "/config/updates", "less than or equal to 10000000"),
    ("reward", {}, {"batch_size": "many"}, "/config/batch_size", "no whole number"),
    ("reward", {"answers": {"dataset": "rankings"}}, {}, "/inputs/answers", "answers are needed"),
    ("reward", {"verdicts": {"project": "project"}}, {}, "/inputs/verdicts", "no verdicts to freeze"),
    ("reward", {"answers": {"snapshot": "nothing"}}, {}, "/inputs/answers", "no such snapshot"),
    ("reward", {"model": "base"}, {}, "/inputs/model", ""),
    ("ppo", {}, {"ptx_coef": 1.0}, "/inputs/pretraining", "ptx_coef is 1, but the input pretraining is missing"),
    ("ppo", {"pretraining": {"dataset": "demonstrations"}}, {}, "/inputs/pretraining", "pretraining is given"),
    ("ppo", {"pretraining": {"dataset": "rankings"}}, {"ptx_coef": 1.0}, "/inputs/pretraining", "demonstrations are"),
]


@pytest.mark.parametrize(("stage", "inputs", "config", "pointer", "word"), REFUSED)
def test_a_job_that_cannot_work_is_refused_at_the_door(
    as_: As,
    body: Body,
    session: Session,
    stage: str,
    inputs: dict[str, Any],
    config: dict[str, Any],
    pointer: str,
    word: str,
) -> None:
    client = as_(Role.ENGINEER)
    request = body(stage, config, **inputs)
    answer = client.post("/v1/jobs", json=request)
    assert answer.status_code == 422, answer.text
    found = {problem["pointer"]: problem["message"] for problem in answer.json()["errors"]}
    assert pointer in found, found
    assert word in found[pointer]
    assert counts(session) == (0, 0)
    dry = client.post("/v1/jobs:validate", json=request).json()
    assert (dry["ok"], dry["estimate"]) == (False, None)
    assert pointer in {problem["pointer"] for problem in dry["problems"]}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"stage": "sftt"}, "/stage"),
        ({"preset": "toyy"}, "/preset"),
        ({"gpus": -1}, "/gpus"),
        ({"gpus": 1.5}, "/gpus"),
        ({"gpus": 65}, "/gpus"),
        ({"gpus": 1e-5}, "/gpus"),
        ({"gpus": 1e308}, "/gpus"),
        ({"gpus": "many"}, "/gpus"),
        ({"gpus": None}, "/gpus"),
        ({"inputs": []}, "/inputs"),
        ({"inputs": None}, "/inputs"),
        ({"config": 7}, "/config"),
        ({"priority": 0.5}, "/priority"),
        ({"priority": 10**6}, "/priority"),
        ({"inptus": {}}, "/inptus"),
    ],
)
def test_the_body_around_is_checked_too(as_: As, body: Body, change: dict[str, Any], pointer: str) -> None:
    answer = as_(Role.ENGINEER).post("/v1/jobs", json=body("sft") | change)
    assert answer.status_code == 422
    assert pointer in {problem["pointer"] for problem in answer.json()["errors"]}


@pytest.mark.parametrize("stage", ["sft", "reward", "ppo", "sample"])
@pytest.mark.parametrize("gpus", [0, 0.5, 1, 2, 64])
def test_every_stage_takes_several_gpus(as_: As, body: Body, stage: str, gpus: float) -> None:
    answer = as_(Role.ENGINEER).post("/v1/jobs", json=body(stage, {"batch_size": 512}) | {"gpus": gpus})
    assert (answer.status_code, answer.json()["gpus"]) == (202, gpus)


@pytest.mark.parametrize("stage", ["sft", "reward", "ppo"])
@pytest.mark.parametrize(("gpus", "told"), [(0, True), (0.5, True), (1, True), (2, False)])
def test_shares_of_one_process_are_told_beforehand(as_: As, body: Body, stage: str, gpus: float, told: bool) -> None:
    request = body(stage, {"batch_size": 32, "shard_weights": True}) | {"gpus": gpus}
    answer = as_(Role.ENGINEER).post("/v1/jobs:validate", json=request).json()
    assert (answer["estimate"]["notes"] == [NOTHING_SHARED]) == told


def test_nothing_is_trained_on_the_soft_prompt_that_a_job_will_make(as_: As, body: Body) -> None:
    client = as_(Role.ENGINEER)
    made = client.post("/v1/jobs", json=body("sft", {"method": "prompt"}))
    assert made.status_code == 202, made.text
    edge = {"job": made.json()["id"]}
    answer = client.post("/v1/jobs:validate", json=body("reward", model=edge)).json()
    assert [problem["pointer"] for problem in answer["problems"]] == ["/inputs/model"]
    assert "soft prompt (prompt), which is no part of the weights" in answer["problems"][0]["message"]


def test_bottleneck_adapters_carry_nothing_but_a_critic_of_their_kind(as_: As, body: Body) -> None:
    client = as_(Role.ENGINEER)

    def told(stage: str, config: dict[str, Any], **inputs: Any) -> list[tuple[str, str]]:
        answer = client.post("/v1/jobs:validate", json=body(stage, config, **inputs)).json()
        return [(problem["pointer"], problem["message"].partition(".")[0]) for problem in answer["problems"]]

    sft, reward = (
        {"job": client.post("/v1/jobs", json=body(stage, {"method": "houlsby"})).json()["id"]}
        for stage in ("sft", "reward")
    )
    left = "It has bottleneck adapters (houlsby), "
    merged = left + "which cannot be merged into the weights that training starts from"
    assert told("reward", {}, model=sft) == [("/inputs/model", merged)]
    assert told("ppo", {"method": "houlsby"}, reward_model=reward) == []
    critic = left + "on which no critic of method ia3 can begin"
    assert told("ppo", {"method": "ia3"}, reward_model=reward) == [("/inputs/reward_model", critic)]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"batch_size": 4, "micro_batch_size": 2}, "batch_size (4) has 4 rows for them in a step. Ask for 4 or fewer"),
        ({"batch_size": 16, "mini_batches": 4}, "batch_size (16) in 4 mini_batches has 4 rows for them in a step."),
    ],
)
def test_ppo_has_a_row_for_each_of_its_gpus(
    as_: As, body: Body, session: Session, settings: dict[str, Any], told: str
) -> None:
    answer = as_(Role.ENGINEER).post("/v1/jobs:validate", json=body("ppo", settings) | {"gpus": 5}).json()
    (problem,) = answer["problems"]
    assert (problem["pointer"], problem["value"]) == ("/gpus", 5)
    assert told in problem["message"]
    uneven = as_(Role.ENGINEER).post("/v1/jobs:validate", json=body("ppo", settings) | {"gpus": 3}).json()
    assert uneven["problems"] == []
    assert counts(session) == (0, 0)


@pytest.mark.parametrize(
    "text",
    [
        b'{"stage": "sft", "inputs": {}, "config": {"learning_rate": NaN}}',
        b'{"stage": "sft", "inputs": {}, "config": {"learning_rate": 1e999}}',
        b'{"stage": "sft", "inputs": {}, "gpus": Infinity}',
        b'{"stage": "sft", "inputs": {}, "priority": ' + b"9" * 5000 + b"}",
        b'{"stage": "sft", "inputs": {}, "gpus": -1e999}',
        b'{"stage": "sft", "inputs": {}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'"sft"',
        b"",
    ],
)
def test_text_that_is_no_job_is_refused_by_name(as_: As, session: Session, text: bytes) -> None:
    client = as_(Role.ENGINEER)
    for path in ("/v1/jobs", "/v1/jobs:validate", "/v1/pipelines"):
        answer = client.post(path, content=text, headers={"Content-Type": "application/json"})
        dry = answer.status_code == 200 and answer.json()
        assert dry["ok"] is False if dry else answer.status_code in (400, 422), answer.text
    assert counts(session) == (0, 0)


@pytest.mark.parametrize("told", [True, False])
def test_a_body_of_100_megabytes_is_cut_off(as_: As, session: Session, told: bool) -> None:
    """Whether its length is told beforehand or not: no more than the limit is taken."""
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"stage": "'
        for _ in range(100):
            sent += 1
            yield b"x" * 2**20

    headers = {"Content-Type": "application/json"} | ({"Content-Length": str(100 * 2**20 + 11)} if told else {})
    answer = as_(Role.ENGINEER).post("/v1/jobs", content=pieces(), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:rankloop:too-large")
    assert counts(session) == (0, 0)


def test_a_key_that_came_with_another_body_is_refused(as_: As, body: Body, session: Session) -> None:
    client, headers = as_(Role.ENGINEER), {"Idempotency-Key": "k"}
    first = client.post("/v1/jobs", json=body("sft"), headers=headers)
    for path, other in (("/v1/jobs", body("sft", {"epochs": 3})), ("/v1/jobs", body("reward")), ("/v1/pipelines", {})):
        answer = client.post(path, json=other, headers=headers)
        if path == "/v1/jobs":
            assert (answer.status_code, answer.json()["type"]) == (422, "urn:rankloop:idempotency-key-reused")
        else:
            assert answer.status_code == 422
    refused = client.post("/v1/jobs", json=body("sft", {"epochs": -1}), headers={"Idempotency-Key": "other"})
    mended = client.post("/v1/jobs", json=body("sft"), headers={"Idempotency-Key": "other"})
    assert (refused.status_code, mended.status_code) == (422, 202)  # what was refused has not used the key up
    assert first.status_code == 202
    assert counts(session)[0] == 2


WEAK = {"heldout_accuracy": 0.55, "heldout_accuracy_low": 0.47, "heldout_accuracy_high": 0.63}


WHY = {"accept_reward_model": "Only to see where it leads."}


@pytest.mark.parametrize("known", ["registry", "folder", "job"])
def test_a_reward_model_that_the_gate_refuses_needs_a_reason(
    as_: As, body: Body, make: Any, session: Session, tmp_path: Path, known: str
) -> None:
    """Whether the registry knows its numbers, its folder does, or the job that made it."""
    folder = tmp_path / "weak"
    folder.mkdir()
    model = make.model(ModelKind.REWARD, path=str(folder), metrics=WEAK if known == "registry" else {})
    reference = {"model": str(model.id)}
    if known == "folder":
        (folder / "reward_report.json").write_text(json.dumps({"metrics": WEAK}))
    if known == "job":
        job = make.job(Stage.REWARD)
        job.result = {"metrics": WEAK, "details": {}}
        reference = {"job": str(job.id)}
        session.flush()
    client = as_(Role.ENGINEER)
    answer = client.post("/v1/jobs", json=body("ppo", reward_model=reference))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/inputs/reward_model"
    assert "not above chance" in error["message"]
    assert "accept_reward_model" in error["message"]
    allowed = client.post("/v1/jobs", json=body("ppo", WHY, reward_model=reference))
    assert allowed.status_code == 202, allowed.text
    assert allowed.json()["config"]["accept_reward_model"] == WHY["accept_reward_model"]


def test_a_report_that_cannot_be_read_is_a_problem_of_the_reward_model(
    as_: As, body: Body, make: Any, tmp_path: Path
) -> None:
    (tmp_path / "reward_report.json").write_text("{")
    model = make.model(ModelKind.REWARD, path=str(tmp_path))
    answer = as_(Role.ENGINEER).post("/v1/jobs", json=body("ppo", reward_model={"model": str(model.id)}))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/inputs/reward_model")


def test_a_reward_model_of_which_nothing_is_known_passes_unless_the_gate_is_set_otherwise(as_: As, body: Body) -> None:
    client = as_(Role.ENGINEER)
    assert client.post("/v1/jobs", json=body("ppo")).status_code == 202
    assert client.post("/v1/jobs", json=body("ppo", {"gate": {"unmeasured": "refuse"}})).status_code == 422


@pytest.mark.parametrize(("project", "responses"), [("project", 9), (None, 64)])
def test_tasks_as_large_as_a_person_can_rank_are_allowed(
    as_: As, body: Body, project: str | None, responses: int
) -> None:
    models = [{"model": "base"}] * (1 if project else 2)  # a file of responses is no task and has no such limit
    request = body("sample", {"responses_per_prompt": responses}, models=models, project=project)
    assert as_(Role.ENGINEER).post("/v1/jobs", json=request).status_code == 202


def test_a_ppo_job_may_name_the_project_whose_people_compare_its_replies(
    as_: As, body: Body, things: dict[str, Any]
) -> None:
    client = as_(Role.ENGINEER)
    named = client.post("/v1/jobs", json=body("ppo", project="project"))
    assert (named.status_code, named.json()["inputs"]["project"]) == (202, str(things["project"]))
    assert "project" not in client.post("/v1/jobs", json=body("ppo", project=None)).json()["inputs"]


def test_every_problem_is_told_at_once(as_: As, body: Body) -> None:
    request = body("ppo", {"gamma": 2, "updats": 1}, model={"model": "nothing"}, prompts={"dataset": "nothing"})
    problems = as_(Role.ENGINEER).post("/v1/jobs", json=request).json()["errors"]
    assert {p["pointer"] for p in problems} == {
        "/config/gamma", "/config/updats", "/inputs/model", "/inputs/prompts",
    }  # fmt: skip


def test_a_full_queue_says_so(as_: As, body: Body, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 1)
    client = as_(Role.ENGINEER)
    assert client.post("/v1/jobs", json=body("sft")).status_code == 202
    answer = client.post("/v1/jobs", json=body("reward"))
    assert (answer.status_code, answer.json()["type"]) == (429, "urn:rankloop:queue-full")
    assert int(answer.headers["retry-after"]) > 0
    assert counts(session) == (1, 1)


def test_a_failed_job_cannot_be_built_on(as_: As, make: Any, body: Body, session: Session) -> None:
    job = running(session, make)
    job_store.fail(session, job.id, job.epoch, Failure(ErrorKind.DIVERGED, "The loss is NaN."), Again.NEVER)
    client = as_(Role.ENGINEER)
    answer = client.post("/v1/jobs", json=body("reward", model={"job": str(job.id)}))
    assert answer.status_code == 422
    assert "failed" in answer.json()["errors"][0]["message"]
    assert client.get(f"/v1/jobs/{job.id}").json()["error"]["kind"] == "diverged"


@pytest.mark.parametrize("stage", ["sft", "sample", "reward", "ppo"])
def test_a_wrong_job_gives_the_errors_of_its_stage_alone(as_: As, body: Body, stage: str) -> None:
    request = body(stage, {"seed": -1}) | {"inputs": {}, "priority": "high"}
    answer = as_(Role.ENGINEER).post("/v1/jobs", json=request)
    pointers = sorted(problem["pointer"] for problem in answer.json()["errors"])
    assert (answer.status_code, pointers) == (422, ["/priority"])  # the frame first
    answer = as_(Role.ENGINEER).post("/v1/jobs", json=request | {"priority": 0})
    required = {name for name, one in inputs_of(Stage(stage)).items() if one.required}
    assert {problem["pointer"] for problem in answer.json()["errors"]} == {f"/inputs/{name}" for name in required}
