"""Planted people work through HTTP: the desk finds them, pauses who is below the bar, and says on what it rests."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from annotation_api.annotation.gold import screening
from annotation_api.db.tables import Role
from tests.support.quality.planted_people import FOUND_BY, HONEST, PLANTED, PlantedPerson, PlantedTask, tasks

TASKS, GOLD, SEED = 30, 18, 5


class Work:
    """One person at the desk."""

    def __init__(self, who: PlantedPerson, client: TestClient, project: str, planted: dict[str, PlantedTask]) -> None:
        self.who, self.client, self.project, self.planted = who, client, project, planted
        self.rng = random.Random(who.name)
        self.answers = 0

    def answer(self) -> bool:
        """The next task, if there is one."""
        answer = self.client.post(f"/v1/projects/{self.project}/next")
        if answer.status_code != 200:
            return False
        given = answer.json()
        keys = {response["text"].split()[0]: response["id"] for response in given["responses"]}
        task = self.planted[next(iter(keys))]
        order = self.who.rank(task, list(keys), str(SEED))
        body = {
            "id": str(uuid.uuid4()),
            "assignment": given["assignment"],
            "active_ms": round(1000 * self.who.takes(self.rng)),
            "payload": {"groups": [[keys[key]] for key in order]},
        }
        sent = self.client.post("/v1/submissions", json=body)
        self.answers += sent.status_code == 201
        return sent.status_code == 201


def as_task(task: PlantedTask) -> dict[str, Any]:
    """Each text begins with the key of its response, and is as long as was planted."""
    texts = [f"{key} " + "x" * (size - len(key) - 1) for key, size in task.sizes.items()]
    prompt = {"messages": [{"role": "user", "content": f"Question {task.id}?"}]}
    return {"prompt": prompt, "responses": [{"text": text} for text in texts]}


@pytest.fixture
def desk(
    session: Session, make: Any, as_: Callable[..., TestClient], person: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[TestClient, str, dict[str, Work]]:
    """A project of ordinary and gold tasks, and everybody at work in it."""
    monkeypatch.setattr(screening, "_dice", random.Random(SEED))
    monkeypatch.setattr(os, "urandom", random.Random(SEED).randbytes)  # of ids, by which cards are shuffled
    session.execute(text("SELECT setseed(0.5)"))  # of which gold item comes
    owner, everyone = as_(Role.ENGINEER), HONEST + PLANTED
    project = str(make.project(overlap=len(everyone)).id)
    session.commit()
    planted = tasks(SEED, TASKS + GOLD)
    made = owner.post(f"/v1/projects/{project}/tasks", json=[as_task(task) for task in planted]).json()["ids"]
    by_key = {key: task for task in planted for key in task.worth}
    for key, task in zip(made[:GOLD], planted[:GOLD], strict=True):
        make_gold(owner, project, key, task)
    assert owner.patch(f"/v1/projects/{project}/quality", json={"gold_rate": 0.5, "bar": 0.7}).status_code == 200
    workers = {who.name: Work(who, as_(person(Role.ANNOTATOR)), project, by_key) for who in everyone}
    return owner, project, workers


def make_gold(owner: TestClient, project: str, key: str, task: PlantedTask) -> None:
    """The worst is below the two best: at random one in three."""
    found = owner.get(f"/v1/projects/{project}/tasks/{key}/answers").json()["responses"]
    ids = {response["text"].split()[0]: response["id"] for response in found}
    best, second, *_, worst = (ids[each] for each in task.best_first)
    below = [{"better": better, "worse": worst} for better in (best, second)]
    body = {"expected": {"constraints": below}, "why": "The last one says nothing."}
    assert owner.put(f"/v1/projects/{project}/tasks/{key}/gold", json=body).status_code == 200


def test_planted_people_are_found(desk: tuple[TestClient, str, dict[str, Work]]) -> None:
    owner, project, workers = desk
    by_id = {work.client.get("/v1/me").json()["pseudonym"]: work for work in workers.values()}
    found: dict[str, int] = {}
    while sum(work.answer() for work in workers.values()):  # everybody in turn
        if max(work.answers for work in workers.values()) % 10:
            continue
        for one in owner.get(f"/v1/projects/{project}/signals").json()["items"]:
            name = by_id[one["annotator"]].who.name
            raised = {reading["signal"] for reading in one["readings"] if reading["raised"]}
            assert not (raised and name.startswith("careful")), (name, raised)
            if raised & FOUND_BY.get(name, set()):
                found.setdefault(name, by_id[one["annotator"]].answers)
    screened = owner.get(f"/v1/projects/{project}/annotators").json()["items"]
    paused = {by_id[one["annotator"]].who.name for one in screened if one["paused_by_rule"]}
    assert "random" in paused
    assert not {name for name in paused if name.startswith("careful")}
    accuracy = {by_id[one["annotator"]].who.name: one["accuracy"] for one in screened}
    assert accuracy["random"] < 0.6 < min(accuracy[who.name] for who in HONEST)
    assert set(found) | paused == set(FOUND_BY), (found, paused)
    # The evidence is a click away.
    for one in owner.get(f"/v1/projects/{project}/signals").json()["items"]:
        for reading in one["readings"]:
            if reading["raised"] and reading["evidence"]:
                shown = owner.get(f"/v1/projects/{project}/answers/{reading['evidence'][0]}").json()
                assert shown["annotator"] == one["annotator"]
