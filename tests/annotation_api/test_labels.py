"""Names, notes and tags of jobs, models, data sets and snapshots: given, changed, found by."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import Session

from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.tables import DatasetKind, Role
from tests.support.jobs import As


@pytest.fixture
def places(make: Any, as_: As) -> dict[str, str]:
    """A thing of each kind by its list."""
    rows = [Demonstration(prompt=Prompt.from_text("Q?"), response="a")]
    dataset = make.dataset(DatasetKind.DEMONSTRATIONS, rows)
    frozen = as_(Role.ENGINEER).post("/v1/snapshots", json={"dataset": str(dataset.id), "kind": "demonstrations"})
    return {
        "jobs": str(make.job().id),
        "models": str(make.model().id),
        "datasets": str(dataset.id),
        "snapshots": frozen.json()["id"],
    }


@pytest.mark.parametrize("kind", ["jobs", "models", "datasets", "snapshots"])
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
