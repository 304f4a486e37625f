"""Every form of the pages with a wrong value, in Chinese: what comes back holds no English sentence."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from annotation_api.db.tables import Role
from annotation_api.http.errors import MACHINE_PATHS
from annotation_api.web.projects import project_form
from tests.annotation_api.test_permissions import routes
from tests.support.permissions.world import PASSWORD, World

Sent = Mapping[str, Any]
NOWHERE = str(uuid.UUID(int=7))
NONE: Sequence[Sent] = ({},)
PROJECT = project_form.empty_fields() | {"name": "新项目"}
SETTINGS: Sequence[Sent] = (
    {"set.learning_rate": "viel"},
    {"set.batch_size": "0"},
    {"set.no_such": "1"},
    {"set.lora": "{"},
    {"gpus": "a few"},
    {"gpus": "1.5", "priority": "x"},
)
LABELS: Sequence[Sent] = (
    {"name": "a\nb"},
    {"name": "x" * 300},
    {"tags": "a b! c"},
    {"tags": " ".join("abcdefghijk" * 9)},
)
# What is sent to each route, once without it too; `{task}` and the like are ids of the world.
WRONG: Mapping[str, Sequence[Sent]] = {
    "/login": [{"email": "a@example.org", "password": "wrong"}],
    "/login/code": [{"passed": "x", "code": "1"}],
    "/reset/{token}": [{"password": "short"}],
    "/setup/{token}": [{"email": "a", "name": "", "password": "short"}],
    "/join/{token}": [{"email": "a", "name": "", "password": "short"}],
    "/logout": [],
    "/preferences": [{"language": "xx", "theme": "y", "back": "//z"}],
    "/account/password": [{"current": "wrong", "new": "four other plain words"}, {"current": PASSWORD, "new": "short"}],
    "/account/second-factor": [{"password": "wrong"}],
    "/account/second-factor/confirm": [{"code": "000000"}],
    "/account/second-factor/remove": [{"password": "wrong"}],
    "/people": [{"role": "king"}],
    "/people/{person_id}": [{"role": "king"}, {"role": "admin", "active": "perhaps"}],
    "/people/{person_id}/erase": [{"sure": "no"}],
    "/people/{person_id}/reset": [],
    "/people/{person_id}/unlock": [],
    "/people/{person_id}/second-factor/remove": [],
    "/people/invitations/{invitation_id}/withdraw": [],
    "/keys": [{"name": ""}, {"name": "x" * 300}, {"name": "k", "scope": "all"}, {"name": "k", "days": "0"},
              {"name": "k", "days": "soon"}],
    "/keys/{key_id}/revoke": [],
    "/threads/{assignment_id}": [{"text": " "}, {"text": "x" * 10_001}, {"do": "settle"}],
    "/projects/{project_id}/review/answers/{answer_id}": [{"outcome": "perhaps"}, {"outcome": "returned"}],
    "/projects/{project_id}/review/tasks/{task_id}": [{"supersedes": "x"}, {"order": "a b c"}],
    "/projects/{project_id}/review/tasks/{task_id}/gold": [{"order": "zzz", "why": "x", "use": "mixed"},
        {"order": "a > b", "why": "", "use": "always"}, {"as_decided": "yes", "why": "x", "use": "mixed"}],
    "/projects/{project_id}/review/tasks/{task_id}/gold/withdraw": [],
    "/projects/{project_id}/review/rules": [{"gold_rate": "often"}, {"gold_rate": "200"}, {"bar": "x", "entry": "-1"}],
    "/projects/{project_id}/review/annotators/{person_id}": [{"reason": ""}, {"reason": "x" * 3000}, {"do": "resume"}],
    "/projects": [{**PROJECT, "name": " "}, {**PROJECT, "overlap": "many"}, {**PROJECT, "overlap": "0"},
                  {**PROJECT, "lease_seconds": "x"}, {**PROJECT, "guidelines": "x" * 200_000},
                  *({**PROJECT, "ranking.on": "yes", "ranking.use_json": "yes", "ranking.json": each}
                    for each in ("{", '{"kind": "ranking", "ties": 7, "no": 1}', "[" * 100_000))],
    "/projects/{project_id}/edit": [{**PROJECT, "name": " "}, {**PROJECT, "overlap": "many"}],
    "/projects/{project_id}/tasks": [{"dataset": "x"}, {"dataset": NOWHERE},
        {"dataset": "{dataset}", "overlap": "many"},
        {"dataset": "{rankings}", "overlap": "0"}, {"dataset": "{rankings}", "priority": "high"}],
    "/projects/{project_id}/standing": [{"do": "paint"}],
    "/projects/{project_id}/samples": [{"model": "x"}, {"model": NOWHERE, "dataset": "x"}, {"model": "{model}"},
        {"model": "{model}", "dataset": "{dataset}", "responses": "0"}],
    "/projects/toy": [],
    "/projects/{project_id}/tasks/remove": [{"state": "x"}, {"since": "yesterday"}, {"dataset": "x"}, {"task": "x"}],
    "/projects/{project_id}/tasks/restore": [{"state": "x"}, {"until": "tomorrow"}, {"task": "x"}],
    "/projects/{project_id}/members": [{"person": "x"}, {"person": NOWHERE}, {"person": "a@example.org"},
        {"person": "{person}", "languages": "klingon!"}],
    "/projects/{project_id}/members/open": [{"open": "perhaps"}],
    "/projects/{project_id}/members/{person_id}/remove": [],
    "/projects/{project_id}/annotate": [{"assignment": "{leased}"}, {"assignment": "{leased}", "rank": "7"},
        {"assignment": "x"}, {"assignment": NOWHERE}],
    "/projects/{project_id}/card": [{"besides": "x"}],
    "/projects/{project_id}/skip": [{"assignment": "x"}, {"assignment": NOWHERE, "reason": "x" * 999}],
    "/datasets": [{"token": "x" * 43, "name": "a", "kind": "prompts"}, {"kind": "none"}],
    "/datasets/preview": [{"kind": "none"}],
    "/datasets/map": [{"token": "x" * 43, "name": "a", "kind": "prompts"}, {"kind": "none", "format": "xls"}],
    "/datasets/{dataset_id}/prepare": [{"duplicates": "some"}, {"near_threshold": "7"}, {"languages": "klingon"},
        {"weights": "en=much"}, {"cap": "x"}, {"evaluation": "model:x"}, {"against": f"snapshot:{NOWHERE}"}],
    "/datasets/{dataset_id}/instruct": [{"answers": "teacher:nobody"}, {"answers": "model:x"}, {"count": "0"},
        {"answers": f"model:{NOWHERE}"}, {"language": "xx"}],
    "/datasets/{dataset_id}/undo": [],
    "/datasets/{dataset_id}/labels": LABELS,
    "/jobs/{job_id}/labels": LABELS,
    "/models/{model_id}/labels": LABELS,
    "/pipelines/{pipeline_id}/labels": LABELS,
    "/snapshots/{snapshot_id}/labels": LABELS,
    "/erasures": [{"scope": "project", "project": "x", "reason": "its author asked"},
        {"scope": "moon", "reason": "abc"},
        {"scope": "project", "project": NOWHERE, "reason": "its author asked"},
        {"scope": "project", "project": "{project}", "reason": "no"}],
    "/snapshots": [{"source": "x", "kind": "rankings"}, {"source": f"project:{NOWHERE}", "kind": "rankings"},
        {"source": "dataset:{dataset}", "kind": "rankings"},
        {"source": "dataset:{dataset}", "kind": "none"},
        {"source": "dataset:{dataset}", "kind": "demonstrations", "adjudicated": "x"}],
    "/jobs": [{"stage": "none"}, *({"stage": stage, **each}
        for stage in ("sft", "reward", "ppo", "sample") for each in (
        *SETTINGS, {"in.model": "x"}, {"in.model": f"model:{NOWHERE}"}, {"in.model": "job:{job}"},
        {"in.demonstrations": "snapshot:x"}, {"preset": "no such"}, {"name": "a\nb"}))],
    "/jobs/estimate": [{"stage": "none"}, *({"stage": "sft", **each} for each in SETTINGS)],
    "/jobs/{job_id}/estimate": SETTINGS,
    "/jobs/{job_id}/cancel": [],
    "/jobs/{job_id}/pause": [],
    "/jobs/{job_id}/resume": SETTINGS,
    "/jobs/{job_id}/retry": SETTINGS,
    "/jobs/{job_id}/keep": [],
    "/pipelines": [{"sft.set.learning_rate": "viel"}, {"in.model": "x"}, {"ppo.set.kl_coef": "-1"},
        {"preset": "no such"}],
    "/pipelines/estimate": [{"sft.set.learning_rate": "viel"}, {"in.model": f"model:{NOWHERE}"}],
    "/pipelines/{pipeline_id}/cancel": [],
    "/pipelines/{pipeline_id}/resume": [],
    "/models": [{"path": ""}, {"path": "/etc"}, {"path": "no such", "do": "check"},
        {"path": "{folder}", "name": "a\nb"},
        {"path": "hub/x", "revision": "y"}],
    "/models/{model_id}/alias": [{"alias": "a b"}, {"alias": ""}, {"alias": "x" * 200},
        {"alias": "a", "why": "x" * 10_001}],
}  # fmt: skip
# Which say nothing of a wrong value, or say it within a page that is whole.
TAKES_ANY = {
    "/login/code", "/preferences", "/people/{person_id}", "/people/{person_id}/erase", "/threads/{assignment_id}",
    "/projects/{project_id}/members/open", "/projects/{project_id}/card", "/jobs/estimate", "/jobs/{job_id}/estimate",
    "/pipelines/estimate",
}  # fmt: skip
SILENT = {"script", "style", "code", "pre", "textarea", "option", "kbd"}
ENGLISH = re.compile(r"[A-Za-z][a-z']+(?: [a-z']{2,}){2,}")
OWN = ("The other's name", "its author asked", "half a model")  # data that the world or the test put in


class Shown(HTMLParser):
    """What a page shows and speaks, in pieces."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.silent: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in SILENT:
            self.silent.append(tag)
        self.pieces += [
            value or "" for name, value in attributes if name in ("alt", "aria-label", "placeholder", "title")
        ]

    def handle_endtag(self, tag: str) -> None:
        if self.silent and self.silent[-1] == tag:
            self.silent.pop()

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.pieces.append(data)


class Forms:
    """Posts to the routes of the pages as an admin who reads Chinese; every request is undone."""

    def __init__(
        self, app: FastAPI, session: Session, make: Any, browser_of: Callable[..., TestClient], me: Any
    ) -> None:
        self.session, self.world = session, World(session, make, app.state.settings)
        self.own = self.world.own(me)
        self.browser = browser_of(me)
        self.browser.headers["Accept-Language"] = "zh"  # of what is shown to whoever has not signed in
        self.known = {
            "dataset": self.world.dataset.id,
            "rankings": self.world.rankings.id,
            "model": self.world.model.id,
            "job": self.world.job.id,
            "person": self.world.other.person.id,
            "project": self.world.project.id,
            "leased": self.own.leased,
            "folder": self.world.model.path,
        }
        session.commit()

    def english(self, path: str, sent: Sent) -> Iterator[str]:
        """English sentences in the answer to a form."""
        answer = self._post(path, sent)
        assert answer.status_code < 500, (path, sent, answer.text)
        assert not sent or path in TAKES_ANY or answer.status_code >= 400, (path, sent, answer.status_code)
        if answer.headers.get("content-type", "").startswith("text/html"):
            for piece in Shown(answer.text).pieces:
                for found in ENGLISH.findall(piece):
                    if found not in OWN:
                        yield f"{path} {dict(sent)}: {answer.status_code}: {piece.strip()[:200]}"
                        break

    def _post(self, path: str, sent: Sent) -> Any:
        ids = self.world.ids(path, self.own)
        at = re.sub(r"\{([^}]+)\}", lambda found: ids.get(found[1]) or NOWHERE, path)
        data = {name: re.sub(r"^(.*)\{(\w+)\}$", self._known, value) for name, value in sent.items()}
        undone = self.session.connection().begin_nested()
        try:
            return self.browser.post(at, data=data)
        finally:
            undone.rollback()

    def _known(self, found: re.Match[str]) -> str:
        return f"{found[1]}{self.known[found[2]]}"


@pytest.fixture
def forms(app: FastAPI, session: Session, make: Any, browser_of: Any, person: Any) -> Iterator[Forms]:
    me = person(Role.ADMIN)
    me.name, me.language = "管理员", "zh"
    found = Forms(app, session, make, browser_of, me)
    yield found
    found.world.close()


def test_every_form_is_tried(app: FastAPI) -> None:
    posted = {path for method, path in routes(app) if method == "POST" and not path.startswith(MACHINE_PATHS)}
    assert posted - WRONG.keys() == set(), "say what may be wrong in these"
    assert WRONG.keys() - posted == set(), "these are gone"


def test_what_comes_back_holds_no_english(forms: Forms) -> None:
    found = [said for path, wrong in WRONG.items() for sent in (*NONE, *wrong) for said in forms.english(path, sent)]
    assert found == [], "\n".join(found)
