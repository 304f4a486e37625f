"""Names, notes and tags of jobs, pipelines, models and data: given, changed, found by, in REST and on the pages."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.tables import DatasetKind, Pipeline, Role
from annotation_api.people import service as people
from annotation_api.people.schemas import NewApiKey
from annotation_api.settings import Settings
from tests.annotation_api.conftest import HOST
from tests.support.databases import is_waited
from tests.support.engine_room import poll
from tests.support.jobs import As
from tests.support.live import app_of


@pytest.fixture
def places(make: Any, as_: As, session: Session) -> dict[str, str]:
    """A thing of each kind by its list."""
    rows = [Demonstration(prompt=Prompt.from_text("Q?"), response="a")]
    dataset = make.dataset(DatasetKind.DEMONSTRATIONS, rows)
    frozen = as_(Role.ENGINEER).post("/v1/snapshots", json={"dataset": str(dataset.id), "kind": "demonstrations"})
    return {
        "jobs": str(make.job().id),
        "pipelines": _pipeline(make, session),
        "models": str(make.model().id),
        "datasets": str(dataset.id),
        "snapshots": frozen.json()["id"],
    }


def _pipeline(make: Any, session: Session) -> str:
    """One that was made before pipelines had labels."""
    row = Pipeline(spec={"gpus": 1}, created_by=make.person(Role.ENGINEER).id)
    session.add(row)
    session.commit()
    return str(row.id)


KINDS = ["jobs", "pipelines", "models", "datasets", "snapshots"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_named_is_found_by_its_name_and_tags(as_: As, places: dict[str, str], kind: str) -> None:
    client, path = as_(Role.ENGINEER), f"/v1/{kind}/{places[kind]}"
    shown = client.patch(path, json={"name": " first 模型 ", "notes": "a\nb", "tags": ["toy", "a.b", "toy"]}).json()
    assert (shown["name"], shown["notes"], shown["tags"]) == ("first 模型", "a\nb", ["a.b", "toy"])
    again = client.patch(path, json={"notes": ""}).json()
    assert (again["name"], again["notes"], again["tags"]) == ("first 模型", "", ["a.b", "toy"])

    def found(**by: str) -> list[str]:
        return [row["id"] for row in client.get(f"/v1/{kind}", params=by).json()["items"]]

    assert found(name="first 模型") == found(tag="toy") == found(name="first 模型", tag="a.b") == [places[kind]]
    assert found(name="first") == found(tag="to") == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_of_a_list_finds_by_a_part_of_the_name_and_a_tag(as_: As, places: dict[str, str], kind: str) -> None:
    client, link = as_(Role.ENGINEER), f'href="/{kind}/{places[kind]}"'
    client.patch(f"/v1/{kind}/{places[kind]}", json={"name": "first 模型", "tags": ["toy"]})

    def page(**by: str) -> str:
        return str(client.get(f"/{kind}", params=by, headers={"Accept": "text/html"}).text)

    for shown in (page(), page(name="模型"), page(tag="toy"), page(name="FIRST", tag="toy")):
        assert link in shown
        assert 'name="tag"' in shown
    for hidden in (page(name="%"), page(tag="to"), page(name="first", tag="other")):
        assert link not in hidden.partition("<main")[2].partition("</main>")[0]
        assert "There is no such" in hidden


def test_the_page_of_a_pipeline_names_it(as_: As, places: dict[str, str]) -> None:
    client, at = as_(Role.ENGINEER), f"/pipelines/{places['pipelines']}"
    wrong = client.post(f"{at}/labels", data={"name": "a\nb", "tags": "", "notes": ""})
    assert wrong.status_code == 422
    assert "a name stands on one line" in wrong.text
    client.post(f"{at}/labels", data={"name": "third try", "tags": "toy, small", "notes": "why"})
    shown = client.get(f"/v1{at}").json()
    assert (shown["name"], shown["tags"], shown["notes"]) == ("third try", ["small", "toy"], "why")
    assert "<h1>third try</h1>" in client.get(at).text


@pytest.mark.parametrize("on_the_page", [False, True])
def test_two_who_label_a_pipeline_at_once_lose_nothing(
    fresh_engine: Engine, factory: Any, tmp_path: Path, on_the_page: bool
) -> None:
    with Session(fresh_engine) as session:
        engineer = factory(session).person(Role.ENGINEER)
        row = Pipeline(spec={"gpus": 1}, created_by=engineer.id)
        session.add(row)
        _, key = people.add_api_key(session, engineer, NewApiKey(name="k"))
        session.commit()
        at = f"/pipelines/{row.id}"
    app = app_of(Settings(database_url="postgresql://given", home=tmp_path), fresh_engine)
    client = TestClient(app, base_url=HOST, headers={"Authorization": f"Bearer {key}"})

    def tag() -> int:
        if on_the_page:
            form = {"name": "", "notes": "", "tags": "toy"}
            return client.post(f"{at}/labels", data=form, follow_redirects=False).status_code
        return client.patch(f"/v1{at}", json={"tags": ["toy"]}).status_code

    with Session(fresh_engine) as first, ThreadPoolExecutor(1) as pool:
        first.get_one(Pipeline, row.id).name = "a name"
        first.flush()
        second = pool.submit(tag)
        poll(lambda: is_waited(fresh_engine), "the second to wait for the first")
        first.commit()
        assert second.result() in (200, 303)
    shown = client.get(f"/v1{at}").json()
    assert (shown["name"], shown["tags"]) == ("a name", ["toy"])


@pytest.mark.parametrize(
    ("labels", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "two\nlines"}, "/name"),
        ({"notes": "\0"}, "/notes"),
        ({"tags": ["two words"]}, "/tags/0"),
        ({"tags": [f"t{n}" for n in range(21)]}, "/tags"),
        ({"nam": "x"}, "/nam"),
        ({"notes": None}, "/notes"),
    ],
)
def test_labels_that_cannot_be_are_refused_by_field(as_: As, places: dict[str, str], labels: Any, pointer: str) -> None:
    answer = as_(Role.ENGINEER).patch(f"/v1/jobs/{places['jobs']}", json=labels)
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize("tag", ["two words", "", "a\n", "x" * 51])
def test_a_tag_that_cannot_be_is_told_what_one_is(as_: As, places: dict[str, str], tag: str) -> None:
    answer = as_(Role.ENGINEER).patch(f"/v1/jobs/{places['jobs']}", json={"tags": [tag]}).json()
    assert answer["errors"][0]["message"] == (
        "Letters, digits, dots, colons, dashes and underscores, 50 at most; up to 20."
    )


def test_an_alias_remembers_what_it_stood_for(as_: As, make: Any, session: Session) -> None:
    client, first, second = as_(Role.ENGINEER), str(make.model().id), str(make.model().id)
    assert client.get("/v1/aliases/champion/history").status_code == 404
    client.put("/v1/aliases/champion", json={"model": first, "why": "the only one"})
    client.put("/v1/aliases/champion", json={"model": second, "why": "people prefer it, 61 % of 200"})
    client.put("/v1/aliases/champion", json={"model": second})  # said again: nothing new
    client.delete("/v1/aliases/champion")
    history = client.get("/v1/aliases/champion/history").json()
    assert [(row["model_id"], row["why"]) for row in history] == [
        (None, ""),
        (second, "people prefer it, 61 % of 200"),
        (first, "the only one"),
    ]


MISLEADING = ["a\u202eb", "a\x1b[31mb", "a\nb", "a\tb", "\u200b", "\u200d", "a\u2066b", "a\ufeff", "a\x9bb"]


def _names(client: TestClient, places: dict[str, str], text: str) -> dict[str, tuple[int, list[str]]]:
    """Each place where something gets a name: the status and the fields that are refused."""
    sent = {
        "project": ("post", "/v1/projects", {"name": text}),
        "job": ("patch", f"/v1/jobs/{places['jobs']}", {"name": text}),
        "model": ("post", "/v1/models", {"name": text, "path": "/nowhere"}),
        "upload": ("post", "/v1/model-uploads", {"name": text}),
        "prepared": ("post", "/v1/datasets:from-preparation", {"name": text, "job": places["jobs"]}),
        "key": ("post", "/v1/api-keys", {"name": text}),
        "note": ("post", "/v1/invitations", {"role": "engineer", "note": text}),
        "person": ("post", "/v1/invitations/none:accept", {"email": "a@b.c", "name": text, "password": "x" * 12}),
    }
    found = {}
    for what, (method, path, body) in sent.items():
        answer = client.request(method, path, json=body)
        found[what] = answer.status_code, [each["pointer"] for each in answer.json().get("errors", ())]
    return found


@pytest.mark.parametrize("text", MISLEADING)
def test_no_name_holds_what_cannot_be_seen(as_: As, places: dict[str, str], text: str) -> None:
    for what, (status, pointers) in _names(as_(Role.ADMIN), places, text).items():
        assert (status, pointers) == (422, ["/note" if what == "note" else "/name"]), what


@pytest.mark.parametrize("text", ["علی\u200cرضا", "山田\u3000太郎", "👩\u200d👧", "Jean\u00a0Paul", "שלום"])
def test_names_are_written_as_people_write_them(as_: As, places: dict[str, str], text: str) -> None:
    for what, (_, pointers) in _names(as_(Role.ADMIN), places, text).items():
        assert not {"/name", "/note"} & set(pointers), what
