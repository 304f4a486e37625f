"""A request to each route of the permission table: its body, parameters and headers; a plain empty one by default."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from annotation_api.web.projects import project_form
from tests.support.permissions.world import CSV, NEW_PROJECT, PASSWORD, REPLAY_KEY, Owned, World

Request = Mapping[str, Any]
LABELLED = ("job", "model", "dataset", "snapshot")


class Requests:
    """In a world. What is the same for everybody is made once: a walk asks for it thousands of times."""

    def __init__(self, world: World) -> None:
        self.world = world
        first = [[str(key)] for key in world.make.response_ids(world.tasks[1])]
        self.model, self.dataset = {"model": str(world.model.id)}, {"dataset": str(world.dataset.id)}
        self.job = {"stage": "sft", "inputs": {"model": self.model, "demonstrations": self.dataset}}
        self.upload = {"data": {"kind": "preferences"}, "files": {"file": ("a.csv", CSV)}}
        self.fixed: dict[str, Request] = (
            self._projects() | self._answers({"groups": first}) | self._runs() | self._pages()
        )

    def to(self, route: str, owned: Owned, caller: Owned | None) -> Request:
        """To `METHOD PATH[#VARIANT]` for what is `owned`."""
        if route in OF_OWNED:
            return OF_OWNED[route](self.world, owned)
        if route == "POST /v1/submissions#supersedes":
            return _correction(self.world, owned, caller or owned)
        return self.fixed.get(route, {})

    def _projects(self) -> dict[str, Request]:
        """People, and the projects that they are in."""
        world, other = self.world, {"person": str(self.world.other.person.id)}
        task = {"prompt": {"messages": [{"role": "user", "content": "?"}]}, "responses": [{"text": "a"}, {"text": "b"}]}
        newcomer = {"email": "new@example.org", "name": "New", "password": PASSWORD}
        return {
            "PATCH /v1/people/{person_id}": {"json": {"active": True}},
            "POST /v1/invitations": {"json": {"role": "annotator"}},
            "POST /v1/invitations/{token}:accept": {"json": newcomer},
            "POST /v1/api-keys": {"json": {"name": "k"}},
            "POST /v1/projects": {"json": {"name": "new"}},
            "POST /v1/projects#replay": {"json": NEW_PROJECT, "headers": {"Idempotency-Key": REPLAY_KEY}},
            "PATCH /v1/projects/{project_id}": {"json": {"overlap": 2}},
            "POST /v1/projects/{project_id}/members": {"json": other},
            "POST /v1/projects/{project_id}/tasks": {"json": task},
            "POST /v1/projects/{project_id}/tasks:from-dataset": {"json": {"dataset": str(world.rankings.id)}},
            "POST /v1/projects/{project_id}/tasks:remove": {"json": {"state": "removed"}},
            "POST /v1/projects/{project_id}/tasks:restore": {"json": {"state": "removed"}},
            "GET /v1/submissions#project": {"params": {"project": str(world.project.id)}},
        }

    def _answers(self, payload: Mapping[str, Any]) -> dict[str, Request]:
        """What people say of tasks, and of one another's answers."""
        best, last = map(str, self.world.make.response_ids(self.world.gold))
        gold = {"expected": {"order": [[best], [last]]}, "why": "x"}
        return {
            "PUT /v1/projects/{project_id}/tasks/{task_id}/gold": {"json": gold},
            "PATCH /v1/projects/{project_id}/quality": {"json": {"gold_rate": 0.1}},
            "POST /v1/projects/{project_id}/annotators/{person_id}:pause": {"json": {"reason": "x"}},
            "POST /v1/projects/{project_id}/answers/{answer_id}:review": {"json": {"outcome": "approved"}},
            "POST /v1/projects/{project_id}/tasks/{task_id}:decide": {"json": {"payload": payload}},
            "POST /v1/assignments/{assignment_id}/comments": {"json": {"text": "x"}},
            "POST /v1/assignments/{assignment_id}:skip": {"json": {"reason": "x"}},
            "PUT /v1/assignments/{assignment_id}/draft": {"json": {"payload": {}}},
            "POST /threads/{assignment_id}": {"data": {"text": "x"}},
            "POST /projects/{project_id}/review/answers/{answer_id}": {"data": {"outcome": "approved"}},
            "POST /projects/{project_id}/review/annotators/{person_id}": {"data": {"reason": "x"}},
        }

    def _runs(self) -> dict[str, Request]:
        """Data, jobs and models."""
        folder = str(self.world.settings.home / "models" / "tiny")
        return {
            **{f"PATCH /v1/{kind}s/{{{kind}_id}}": {"json": {"notes": "n"}} for kind in LABELLED},
            "POST /v1/datasets": self.upload,
            "POST /v1/datasets:preview": self.upload,
            "POST /v1/datasets:from-preparation": {"json": {"job": str(uuid.UUID(int=1))}},
            "POST /v1/snapshots": {"json": self.dataset | {"kind": "demonstrations"}},
            "POST /v1/jobs": {"json": self.job},
            "POST /v1/jobs:validate": {"json": self.job},
            "POST /v1/models": {"json": {"name": "m", "path": folder}},
            "PUT /v1/aliases/{name}": {"json": self.model},
            "POST /v1/model-uploads": {"json": {"name": "m"}},
            "PUT /v1/model-uploads/{upload_id}/files/{name}": {
                "content": b"{}",
                "headers": {"Content-Type": "application/octet-stream"},
            },
        }

    def _pages(self) -> dict[str, Request]:
        """Forms."""
        world = self.world
        frozen = {"source": f"dataset:{world.dataset.id}", "kind": "demonstrations"}
        return {
            "POST /models/{model_id}/alias": {"data": {"alias": "champion"}},
            "POST /people": {"data": {"role": "annotator"}},
            "POST /people/{person_id}": {"data": {"role": "annotator", "active": "yes"}},
            "POST /people/{person_id}/erase": {"data": {"sure": "yes"}},
            "POST /keys": {"data": {"name": "k"}},
            "POST /projects": {"data": project_form.empty_fields() | {"name": "new"}},
            "POST /projects/{project_id}/tasks": {"data": {"dataset": str(world.rankings.id)}},
            "POST /projects/{project_id}/standing": {"data": {"do": "close"}},
            "POST /projects/{project_id}/tasks/remove": {"data": {"state": "removed"}},
            "POST /projects/{project_id}/members": {"data": {"person": str(world.other.person.id)}},
            "POST /datasets/preview": self.upload,
            "POST /snapshots": {"data": frozen},
        }


def _whole(owned: Owned) -> dict[str, str]:
    """All of a project, to be erased."""
    return {"scope": "project", "project": str(owned.erasure.project_id)}


def _erasing(owned: Owned) -> dict[str, str]:
    return _whole(owned) | {"reason": "its author asked"}


def _uploaded(owned: Owned) -> Request:
    return {"data": {"name": "a", "kind": "preferences", "token": owned.token}}


def _answer(world: World, owned: Owned) -> Request:
    return {"json": world.ranking(owned.leased, owned.task).model_dump(mode="json")}


def _correction(world: World, owned: Owned, caller: Owned) -> Request:
    """A new answer to a task of the caller's own, in place of the submission that is `owned`."""
    sent = world.ranking(caller.answered, world.tasks[1], supersedes=owned.submission.id)
    return {"json": sent.model_dump(mode="json")}


OF_OWNED: dict[str, Callable[[World, Owned], Request]] = {
    "POST /v1/submissions": _answer,
    "POST /v1/submissions#replay": lambda _, owned: {"json": owned.sent.model_dump(mode="json")},
    "POST /v1/erasures:preview": lambda _, owned: {"json": _whole(owned)},
    "POST /v1/erasures": lambda _, owned: {"json": _erasing(owned)},
    "GET /erasures/new": lambda _, owned: {"params": _whole(owned)},
    "POST /erasures": lambda _, owned: {"data": _erasing(owned)},
    "POST /projects/{project_id}/annotate": lambda _, owned: {"data": {"assignment": str(owned.leased)}},
    "POST /projects/{project_id}/skip": lambda _, owned: {"data": {"assignment": str(owned.leased)}},
    "GET /projects/{project_id}/correct": lambda _, owned: {"params": {"submission": str(owned.submission.id)}},
    "POST /datasets": lambda _, owned: _uploaded(owned),
    "POST /datasets/map": lambda _, owned: _uploaded(owned),
}
