"""/v1/models and /v1/aliases: what may be registered, and the way back to the annotations."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.models.adapters import add_adapters, save_adapter
from alignment.shared.config import LoRAConfig, Stage
from alignment.shared.records import Prompt, Ranking
from annotation_api.db.snapshots import freeze
from annotation_api.db.tables import DatasetKind, ModelKind, ModelParent, ModelVersion, Role
from tests.support.alignment import tiny

As = Callable[..., TestClient]


@pytest.fixture
def root(app: FastAPI, tmp_path: Path) -> Path:
    """The only folder below which models may lie; the hub ids of one owner are allowed."""
    folder = tmp_path / "models"
    folder.mkdir()
    app.state.settings = app.state.settings.model_copy(update={"model_roots": (folder,), "hub_models": ("good/*",)})
    return folder


def model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return folder


def register(client: TestClient, path: object, name: str = "tiny") -> Any:
    return client.post("/v1/models", json={"name": name, "path": str(path)})


def test_a_folder_below_a_root_becomes_a_base_model(as_: As, root: Path) -> None:
    folder = model_folder(root / "tiny")
    client = as_(Role.ENGINEER)
    for path, status in ((folder, 201), ("tiny", 200)):  # once, however it is named
        answer = register(client, path)
        assert answer.status_code == status, answer.text
        assert (answer.json()["kind"], answer.json()["path"]) == ("base", str(folder.resolve()))
        assert client.get(answer.headers["location"]).json() == answer.json() | {"erased": None}
    assert [row["name"] for row in client.get("/v1/models", params={"kind": "base"}).json()["items"]] == ["tiny"]
    assert client.get("/v1/models", params={"kind": "reward"}).json()["items"] == []


def test_an_allowed_hub_id_is_registered_and_another_is_not(as_: As, root: Path) -> None:
    client = as_(Role.ENGINEER)
    assert register(client, "good/model").json()["path"] == "good/model"
    refused = register(client, "other/model")
    assert refused.status_code == 422
    assert "RANKLOOP_HUB_MODELS" in refused.json()["detail"]


def spoil(folder: Path, how: str) -> None:
    if how == "no config":
        (folder / "config.json").unlink()
    elif how == "broken config":
        (folder / "config.json").write_text("{")
    elif how == "list config":
        (folder / "config.json").write_text("[]")
    elif how == "code":
        (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Model"}}))
    elif how == "tokenizer code":
        (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {}}))
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif how == "no weights":
        (folder / "model.safetensors").unlink()
    elif how == "empty weights":
        (folder / "model.safetensors").write_bytes(b"")
    elif how == "pickle":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif how == "link out":
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").symlink_to("/etc/passwd")


def adapters(folder: Path, base: Path) -> Path:
    """LoRA adapters on the model in `base`."""
    model: Any = add_adapters(tiny.causal(), LoRAConfig(rank=2), "CAUSAL_LM", 0)
    save_adapter(model, tiny.tokenizer(), folder, str(base))
    return folder


def test_adapters_are_registered_with_what_they_stand_on(as_: As, root: Path, session: Session) -> None:
    base = tiny.save(tiny.causal(), root / "base")
    made = register(as_(Role.ENGINEER), adapters(root / "light", base))
    assert made.status_code == 201, made.text
    assert session.scalars(select(ModelVersion)).one().metrics == {"base": str(base)}
    assert register(as_(Role.ENGINEER), adapters(root / "lighter", root / "light")).status_code == 201


@pytest.mark.parametrize("where", ["outside", "nowhere", "hub"])
def test_adapters_on_what_may_not_be_used_are_refused(
    as_: As, root: Path, session: Session, tmp_path: Path, where: str
) -> None:
    base = {"outside": tmp_path / "outside", "nowhere": root / "gone", "hub": Path("good/model")}[where]
    tiny.save(tiny.causal(), tmp_path / "outside")
    answer = register(as_(Role.ENGINEER), adapters(root / "light", base))
    assert answer.status_code == 422
    told = answer.json()["detail"]
    assert f"it holds adapters on '{base}', which is no folder that may be used" in told
    assert "in base_model_name_or_path; or merge them." in told
    assert session.scalar(select(func.count()).select_from(ModelVersion)) == 0


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("no config", "no config.json"),
        ("broken config", "cannot be read as JSON"),
        ("list config", "must hold a JSON object"),
        ("code", "auto_map"),
        ("tokenizer code", "auto_map"),
        ("no tokenizer", "no tokenizer"),
        ("no weights", "no weights"),
        ("empty weights", "not a whole safetensors file"),
        ("pickle", "pytorch_model.bin"),
        ("link out", "leads out"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_by_name(
    as_: As, root: Path, session: Session, how: str, why: str
) -> None:
    folder = model_folder(root / "tiny")
    spoil(folder, how)
    answer = register(as_(Role.ENGINEER), folder)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/path"
    assert why in answer.json()["detail"]
    assert session.scalar(select(func.count()).select_from(ModelVersion)) == 0


def test_no_path_leads_out_of_the_roots(as_: As, root: Path, tmp_path: Path) -> None:
    outside = model_folder(tmp_path / "outside")
    (root / "link").symlink_to(outside)
    client = as_(Role.ENGINEER)
    for path in (outside, root / "link", root / ".." / "outside", "../outside", "/etc", "a\0b", "nowhere"):
        answer = register(client, path)
        assert answer.status_code == 422, path


def test_an_alias_moves(as_: As, make: Any) -> None:
    first, second, client = make.model(), make.model(), as_(Role.ENGINEER)
    for model in (first, second):
        answer = client.put("/v1/aliases/champion", json={"model": str(model.id)})
        assert (answer.status_code, answer.json()["model_id"]) == (200, str(model.id))
    assert [(row["name"], row["model_id"]) for row in client.get("/v1/aliases").json()] == [
        ("champion", str(second.id))
    ]
    assert client.put("/v1/aliases/UPPER", json={"model": str(first.id)}).status_code == 422
    assert client.put("/v1/aliases/other", json={"model": str(uuid.uuid4())}).status_code == 422


def test_an_alias_of_a_model_that_one_may_not_see_says_nothing(as_: As, browser_of: Any, make: Any) -> None:
    secret = make.model(snapshot_id=_of_closed(make).id)
    body = {"model": str(secret.id), "why": "Secret reason."}
    assert as_(Role.ADMIN).put("/v1/aliases/champion", json=body).status_code == 200
    stranger = as_(Role.ENGINEER)
    assert stranger.get("/v1/aliases").json() == []
    assert stranger.get("/v1/aliases/champion/history").status_code == 404
    assert "Secret reason." not in browser_of(Role.ENGINEER).get("/models").text
    assert "Secret reason." in browser_of(Role.ADMIN).get("/models").text


def _of_closed(make: Any) -> Any:
    """A snapshot of a closed project."""
    project = make.project(open=False)
    make.submission(make.task(make.prompt(project)), [[0], [1]])
    return freeze.freeze_project(make.session, project.id, project.created_by)


@pytest.mark.parametrize("role", [Role.ANNOTATOR, Role.REVIEWER])
def test_only_engineers_change_the_registry(as_: As, make: Any, role: Role, root: Path) -> None:
    client, model = as_(role), make.model()
    assert register(client, "tiny").status_code == 403
    assert client.put("/v1/aliases/a", json={"model": str(model.id)}).status_code == 403
    assert client.get("/v1/models").status_code == (200 if role is Role.REVIEWER else 403)


def test_lineage_leads_from_the_policy_to_every_annotation(as_: As, make: Any, session: Session) -> None:
    project, person = make.project(), make.person()
    submissions = []
    for i in range(3):
        task = make.task(make.prompt(project, f"Question {i}?"))
        submissions.append(make.submission(task, [[0], [1]]))
    rankings = freeze.freeze_project(session, project.id, person.id)
    ranking = Ranking(prompt=Prompt.from_text("Q?"), responses=("a", "b"), groups=((0,), (1,)))
    dataset = make.dataset(DatasetKind.RANKINGS, [ranking])
    prompts = freeze.freeze_dataset(session, dataset.id, DatasetKind.PROMPTS, person.id)

    base = make.model(name="base")
    reward = make.model(ModelKind.REWARD, name="judge", snapshot_id=rankings.id, job_id=make.job(Stage.REWARD).id)
    policy = make.model(ModelKind.POLICY, name="policy", snapshot_id=prompts.id, job_id=make.job(Stage.PPO).id)
    session.add_all(
        ModelParent(model_id=child.id, parent_id=parent.id, relation=relation)
        for child, parent, relation in (
            (reward, base, "start"),
            (policy, base, "start"),
            (policy, reward, "reward_model"),
        )
    )
    session.flush()

    graph = as_(Role.REVIEWER).get(f"/v1/models/{policy.id}/lineage").json()
    nodes = {node["id"]: node for node in graph["nodes"]}
    edges = {(edge["source"], edge["target"], edge["relation"]) for edge in graph["edges"]}
    assert graph["nodes"][0]["id"] == str(policy.id)
    assert len(nodes) == len(graph["nodes"]) == 9  # 3 models, 2 jobs, 2 snapshots, a data set, a project
    assert edges == {
        (str(policy.id), str(policy.job_id), "made by"),
        (str(policy.id), str(prompts.id), "trained on"),
        (str(policy.id), str(base.id), "start"),
        (str(policy.id), str(reward.id), "reward_model"),
        (str(reward.id), str(reward.job_id), "made by"),
        (str(reward.id), str(rankings.id), "trained on"),
        (str(reward.id), str(base.id), "start"),
        (str(rankings.id), str(project.id), "frozen from"),
        (str(prompts.id), str(dataset.id), "frozen from"),
    }
    facts = nodes[str(rankings.id)]["facts"]["submissions"]
    assert facts["count"] == 3
    assert set(facts["ids"]) == {str(row.id) for row in submissions}
    assert as_(Role.REVIEWER).get(f"/v1/models/{uuid.uuid4()}/lineage").status_code == 404


def test_lineage_leads_to_answers_and_verdicts_that_a_reward_model_read(as_: As, make: Any, session: Session) -> None:
    """They are inputs of its job; the snapshot of the model itself is that of the rankings."""
    person = make.person()
    ranking = Ranking(prompt=Prompt.from_text("Q?"), responses=("a", "b"), groups=((0,), (1,)))
    dataset = make.dataset(DatasetKind.RANKINGS, [ranking])
    rankings, answers = (
        freeze.freeze_dataset(session, dataset.id, kind, person.id)
        for kind in (DatasetKind.RANKINGS, DatasetKind.PROMPTS)
    )
    inputs = {"rankings": {"snapshot": str(rankings.id)}, "answers": {"snapshot": str(answers.id)}}
    job = make.job(Stage.REWARD, inputs=inputs)
    model = make.model(ModelKind.REWARD, snapshot_id=rankings.id, job_id=job.id)
    graph = as_(Role.REVIEWER).get(f"/v1/models/{model.id}/lineage").json()
    edges = {(edge["source"], edge["target"], edge["relation"]) for edge in graph["edges"]}
    assert edges == {
        (str(model.id), str(job.id), "made by"),
        (str(model.id), str(rankings.id), "trained on"),
        (str(job.id), str(answers.id), "read"),
        (str(rankings.id), str(dataset.id), "frozen from"),
        (str(answers.id), str(dataset.id), "frozen from"),
    }
