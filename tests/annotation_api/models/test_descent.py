"""Forward lineage: what came of a data set, a snapshot, a model."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.records import Prompt, Ranking
from annotation_api.db.snapshots import freeze
from annotation_api.db.tables import DatasetKind, ModelKind, ModelParent, Role
from annotation_api.models import descent

As = Callable[..., TestClient]
Edge = tuple[str, str, str]


@dataclass
class Family:
    """A data set, its snapshots, and three generations of models; `ids` name everything."""

    ids: dict[str, uuid.UUID]

    def name(self, key: str) -> str:
        return next(name for name, found in self.ids.items() if str(found) == key)

    def edges(self, graph: dict[str, Any]) -> set[Edge]:
        return {(self.name(e["source"]), self.name(e["target"]), e["relation"]) for e in graph["edges"]}


@pytest.fixture
def family(make: Any, session: Session) -> Family:
    """rankings -> reward model -> policy -> sampling; the policy's job named the reward job before it had a model."""
    person = make.person()
    ranking = Ranking(prompt=Prompt.from_text("Q?"), responses=("a", "b"), groups=((0,), (1,)))
    dataset = make.dataset(DatasetKind.RANKINGS, [ranking])
    rankings = freeze.freeze_dataset(session, dataset.id, DatasetKind.RANKINGS, person.id)
    prompts = freeze.freeze_dataset(session, dataset.id, DatasetKind.PROMPTS, person.id)
    base = make.model()
    reward_job = make.job(Stage.REWARD, inputs={"model": {"model": str(base.id)}, "rankings": snapshot(rankings)})
    reward = make.model(ModelKind.REWARD, job_id=reward_job.id, snapshot_id=rankings.id)
    inputs = {"model": {"model": str(base.id)}, "reward_model": {"job": str(reward_job.id)}}
    ppo_job = make.job(Stage.PPO, inputs=inputs | {"prompts": snapshot(prompts)})
    policy = make.model(ModelKind.POLICY, job_id=ppo_job.id, snapshot_id=prompts.id)
    models = [{"model": str(policy.id)}, {"model": str(make.model(name="stranger").id)}]
    sampling = make.job(Stage.SAMPLE, inputs={"models": models, "prompts": snapshot(prompts), "project": None})
    make.job(Stage.SFT, inputs={"model": {"model": str(make.model().id)}})  # of another family
    links = ((reward, base, "start"), (policy, base, "start"), (policy, reward, "reward_model"))
    session.add_all(ModelParent(model_id=a.id, parent_id=b.id, relation=relation) for a, b, relation in links)
    session.flush()
    rows = {"dataset": dataset, "rankings": rankings, "prompts": prompts, "base": base, "reward job": reward_job}
    rows |= {"reward": reward, "ppo job": ppo_job, "policy": policy, "sampling": sampling}
    return Family({name: row.id for name, row in rows.items()})


def snapshot(row: Any) -> dict[str, str]:
    return {"snapshot": str(row.id)}


OF_PROMPTS: set[Edge] = {
    ("ppo job", "prompts", "read"),
    ("policy", "ppo job", "made by"),
    ("policy", "prompts", "trained on"),
    ("sampling", "policy", "start"),
    ("sampling", "prompts", "read"),
}
OF_RANKINGS: set[Edge] = {
    ("reward job", "rankings", "read"),
    ("reward", "reward job", "made by"),
    ("reward", "rankings", "trained on"),
    ("ppo job", "reward job", "reward_model"),
    ("policy", "ppo job", "made by"),
    ("policy", "reward", "reward_model"),
    ("sampling", "policy", "start"),
}


def test_everything_that_came_of_a_data_set(as_: As, family: Family) -> None:
    graph = as_(Role.ENGINEER).get(f"/v1/datasets/{family.ids['dataset']}/derived").json()
    assert graph["nodes"][0] == {
        "id": str(family.ids["dataset"]), "type": "dataset", "label": "file.jsonl", "facts": {"rows": 1},
    }  # fmt: skip
    frozen = {("rankings", "dataset", "frozen from"), ("prompts", "dataset", "frozen from")}
    assert family.edges(graph) == OF_PROMPTS | OF_RANKINGS | frozen
    assert len(graph["nodes"]) == len({node["id"] for node in graph["nodes"]}) == 8  # all but the base model
    assert graph["whole"] is True


def test_everything_that_came_of_a_snapshot(as_: As, family: Family) -> None:
    client = as_(Role.ENGINEER)
    for name, edges in (("prompts", OF_PROMPTS), ("rankings", OF_RANKINGS)):
        graph = client.get(f"/v1/snapshots/{family.ids[name]}/derived").json()
        assert (graph["nodes"][0]["id"], family.edges(graph)) == (str(family.ids[name]), edges)


def test_everything_that_came_of_a_model(as_: As, family: Family) -> None:
    client = as_(Role.REVIEWER)
    graph = client.get(f"/v1/models/{family.ids['policy']}/derived").json()
    assert family.edges(graph) == {("sampling", "policy", "start")}
    graph = client.get(f"/v1/models/{family.ids['base']}/derived").json()
    assert family.edges(graph) == {
        ("reward job", "base", "start"),
        ("ppo job", "base", "start"),
        ("reward", "base", "start"),
        ("policy", "base", "start"),
        ("reward", "reward job", "made by"),
        ("policy", "ppo job", "made by"),
        ("ppo job", "reward job", "reward_model"),
        ("policy", "reward", "reward_model"),
        ("sampling", "policy", "start"),
    }


def test_nothing_came_of_what_nobody_used(as_: As, make: Any) -> None:
    graph = as_(Role.REVIEWER).get(f"/v1/models/{make.model().id}/derived").json()
    assert (len(graph["nodes"]), graph["edges"], graph["whole"]) == (1, [], True)


def test_a_large_family_is_cut_off_and_says_so(as_: As, family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "MOST_NODES", 3)
    graph = as_(Role.ENGINEER).get(f"/v1/datasets/{family.ids['dataset']}/derived").json()
    assert (len(graph["nodes"]), graph["whole"]) == (3, False)


@pytest.mark.parametrize("kind", ["datasets", "snapshots", "models"])
def test_an_unknown_origin_is_404(as_: As, kind: str) -> None:
    assert as_(Role.ENGINEER).get(f"/v1/{kind}/{uuid.uuid4()}/derived").status_code == 404
