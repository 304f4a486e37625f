"""Names in the place of ids on the command line, and what it says of jobs side by side."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from annotation_api.cli.client import ClientError
from annotation_api.cli.commands import compare, labels
from annotation_api.cli.references import (
    by_names,
    data_ref,
    found_by_name,
    model_ref,
    person_id,
    project_id,
    start_model,
)

IDS = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(3)]


class Stub:
    """A client that knows some names."""

    def __init__(self, **rows: list[dict[str, str]]) -> None:
        self.rows, self.asked = rows, list[Any]()

    def get(self, path: str, **query: Any) -> Any:
        self.asked.append((path, query))
        if path.endswith(":compare"):
            side = [{"label": "a"}, {"label": "b"}]
            number = {"name": "heldout_kl", "values": [{"value": 1.5, "low": 1.0, "high": 2.0}, None]}
            settings = [{"name": "kl_coef", "values": [0.1, 0.2]}]
            return {"jobs": side, "notes": ["Files were removed."], "settings": settings, "numbers": [number]}
        things = path.rpartition("/")[2]
        return {"items": [row for row in self.rows.get(things, []) if row["name"] == query["name"]]}

    def pages(self, path: str, most: int, **query: Any) -> list[dict[str, str]]:
        return self.rows.get(path.rpartition("/")[2], [])[:most]

    def post(self, path: str, body: Any) -> Any:
        self.asked.append((path, body))
        return {"id": "new"}

    def patch(self, path: str, body: Any) -> Any:
        self.asked.append((path, body))
        return {"id": path.rpartition("/")[2], "name": body.get("name"), "tags": body.get("tags", [])}


def stub() -> Any:
    jobs = [{"id": IDS[0], "name": "first"}, {"id": IDS[1], "name": "twice"}, {"id": IDS[2], "name": "twice"}]
    return Stub(
        jobs=jobs,
        datasets=[{"id": IDS[1], "name": "toy"}],
        models=[{"id": IDS[2], "name": "base", "path": "/far/base"}],
    )


def test_a_name_is_taken_where_one_thing_alone_is_called_so() -> None:
    assert found_by_name(stub(), "jobs", "first") == IDS[0]
    assert found_by_name(stub(), "jobs", IDS[2]) == IDS[2]
    with pytest.raises(ClientError, match=f"Several jobs are called 'twice'.*{IDS[1]}, {IDS[2]}"):
        found_by_name(stub(), "jobs", "twice")
    with pytest.raises(ClientError, match="'nobody' is neither an id nor a name among jobs"):
        found_by_name(stub(), "jobs", "nobody")


def test_a_person_is_named_by_address_or_pseudonym() -> None:
    client = Stub(people=[{"id": IDS[0], "email": "Ada@example.com", "pseudonym": "person-7", "name": "Ada"}])
    assert {person_id(client, text) for text in (IDS[0], "ada@example.com", "person-7")} == {IDS[0]}  # type: ignore[arg-type]
    with pytest.raises(ClientError, match="nobody with the address or pseudonym 'Ada'; `rankloop users list`"):
        person_id(client, "Ada")  # type: ignore[arg-type]


def test_a_name_of_data_that_is_none_leads_on(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="What people said in a project is project:NAME"):
        data_ref(stub(), "helpfulness")
    file = tmp_path / "rows.jsonl"
    file.touch()
    with pytest.raises(ClientError, match=f"is a file here: first `rankloop import {file} --as KIND`"):
        data_ref(stub(), str(file))


def test_inputs_and_arguments_take_names() -> None:
    assert data_ref(stub(), "toy") == {"dataset": IDS[1]}
    assert data_ref(stub(), f"snapshot:{IDS[0]}") == {"snapshot": IDS[0]}
    assert model_ref(stub(), "model:base") == {"model": IDS[2]}
    assert model_ref(stub(), "job:first") == {"job": IDS[0]}
    assert model_ref(stub(), "alias:champion") == {"alias": "champion"}
    args = Namespace(job="first", model=["folder/of/a/model"])
    by_names(stub(), args)
    assert (args.job, args.model) == (IDS[0], ["folder/of/a/model"])  # several start models are looked up elsewhere


def test_a_start_model_is_its_id_or_name_before_it_is_a_folder(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    client = stub()
    assert start_model(client, "base") == {"model": IDS[2]}
    assert model_ref(client, "base") == {"model": IDS[2]}
    (tmp_path / "base").mkdir()
    both = rf"'base' is the name of model {IDS[2]} and of a folder here; write model:base, or its id, .* \./base for"
    with pytest.raises(ClientError, match=both):
        start_model(client, "base")
    assert start_model(client, "model:base") == {"model": IDS[2]}
    assert start_model(client, "./base") == {"model": "new"}
    assert client.asked[-1] == ("/v1/models", {"name": "base", "path": str(tmp_path / "base")})


def test_a_folder_of_a_models_name_that_is_that_model_is_no_riddle(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    client: Any = Stub(models=[{"id": IDS[0], "name": "base", "path": str(tmp_path / "base")}])
    assert start_model(client, "base", new=False) == {"model": IDS[0]}
    assert start_model(client, "./base", new=False) == {"model": IDS[0]}
    assert start_model(client, "base") == {"model": "new"}  # the service says which one it is
    assert client.asked[-1][1]["path"] == str(tmp_path / "base")


def test_projects_are_named_by_name_everywhere() -> None:
    client: Any = Stub(projects=[{"id": IDS[0], "name": "helpfulness"}, *({"id": i, "name": "two"} for i in IDS[1:])])
    assert data_ref(client, "project:helpfulness") == {"project": IDS[0]}
    assert data_ref(client, f"project:{IDS[1]}") == {"project": IDS[1]}
    with pytest.raises(ClientError, match=f"Several projects are called 'two'.*{IDS[1]}, {IDS[2]}"):
        project_id(client, "two")
    with pytest.raises(ClientError, match="no project named 'none'"):
        project_id(client, "none")


def test_a_name_that_is_none_is_told_where_names_are_listed() -> None:
    with pytest.raises(ClientError, match="; `rankloop jobs list` shows them"):
        found_by_name(stub(), "jobs", "nobody")


def test_jobs_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    client = stub()
    assert compare.compare(client, Namespace(things=["first", IDS[1]], models=False, json=False)) == 0
    assert client.asked[-1] == ("/v1/jobs:compare", {"job": [IDS[0], IDS[1]]})
    said = capsys.readouterr()
    assert "note: Files were removed." in said.err
    assert "kl_coef  0.1  0.2" in said.out
    assert "heldout_kl  1.5 (1 to 2)  -" in said.out


def test_labels_are_changed_and_something_must_be(capsys: pytest.CaptureFixture[str]) -> None:
    client, nothing = stub(), {"kind": "job", "thing": "first", "json": False, "name": None, "notes": None, "tag": None}
    assert labels.change(client, Namespace(**nothing | {"name": "best", "tag": ["a"]})) == 0
    assert client.asked[-1] == (f"/v1/jobs/{IDS[0]}", {"name": "best", "tags": ["a"]})
    assert capsys.readouterr().out == f"job {IDS[0]}: best a\n"
    with pytest.raises(ClientError, match="Say what is to change"):
        labels.change(client, Namespace(**nothing))
