"""Responses that nobody has ranked: read from their shapes, never an order, and the tasks that they fill."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from alignment.shared.records import Candidates, Prompt
from annotation_api.datasets.formats.reading import Reading
from annotation_api.db.tables import Role

As = Callable[..., TestClient]
ASKED = {"role": "user", "content": "Name a tree."}
TEXTS = ("Oak.", "Sand.", "Elm.")

SHAPES: dict[str, dict[str, Any]] = {
    "a list": {"prompt": "Name a tree.", "responses": list(TEXTS)},
    "objects": {"prompt": "Name a tree.", "responses": [{"model": "m", "text": text} for text in TEXTS]},
    "by name": {"prompt": "Name a tree.", "responses": dict(zip("abc", TEXTS, strict=True))},
    "messages": {"messages": [ASKED], "completions": list(TEXTS)},
    "chats": {"prompt": [ASKED], "generations": [[{"role": "assistant", "content": text}] for text in TEXTS]},
    "columns": {"instruction": "Name a tree.", "response_1": "Oak.", "response_2": "Sand.", "response_3": "Elm."},
    "letters": {"question": "Name a tree.", "Answer B": "Sand.", "Answer A": "Oak.", "Answer C": "Elm."},
    "ten columns": {"prompt": "Name a tree.", "response_10": "Elm.", "response_9": "Sand.", "response_1": "Oak."},
    "scores, left out": {"prompt": "Name a tree.", "responses": list(TEXTS), "scores": [1, 3, 2]},
    "an order, left out": {"instruction": "Name a tree.", "output": list(TEXTS)},
}


def read(*rows: dict[str, Any], kind: str = "responses") -> tuple[Reading, list[Any]]:
    reading = Reading(io.BytesIO(b"\n".join(json.dumps(row).encode() for row in rows)), kind)
    return reading, [item.record for item in reading]


@pytest.mark.parametrize("row", SHAPES.values(), ids=list(SHAPES))
def test_a_shape(row: dict[str, Any]) -> None:
    reading, records = read(row)
    assert reading.refusals == []
    assert records == [Candidates(prompt=Prompt.from_text("Name a tree."), responses=TEXTS)]


def test_scores_make_a_ranking_and_ranks_count_from_the_best() -> None:
    row = SHAPES["scores, left out"]
    for given in ({}, {"scores": None, "ranks": [3, 1, 2]}):
        _, (ranking,) = read(row | given, kind="rankings")
        assert ranking.groups == ((1,), (2,), (0,))


@pytest.mark.parametrize("kind", ["rankings", "preferences", "demonstrations", "conversations"])
def test_another_kind_says_which_kind_they_are(kind: str) -> None:
    reading, records = read(SHAPES["a list"], kind=kind)
    assert records == []
    assert "import the file as responses" in reading.refusals[0].message.replace("Import", "import")


def test_the_prompts_alone_name_what_is_not_used() -> None:
    reading, records = read(SHAPES["a list"], kind="prompts")
    assert records == [Prompt.from_text("Name a tree.")]
    assert reading.unused == {"responses": 1}


def test_an_answer_of_its_own_is_still_a_demonstration() -> None:
    row = {"instruction": "Name a tree.", "output": "Oak.", "candidates": ["Sand.", "Elm."]}
    reading, (record,) = read(row, kind="demonstrations")
    assert (record.response, reading.unused) == ("Oak.", {"candidates": 1})


@pytest.mark.parametrize(
    ("row", "field", "word"),
    [
        ({"prompt": "Q?", "responses": ["Oak."]}, "responses", "are 1; to be ranked there must be 2"),
        ({"prompt": "Q?", "responses": ["Oak.", " "]}, "responses[1]", "is empty"),
        ({"prompt": "Q?", "responses": ["Oak.", 7]}, "responses[1]", "must be text, it is a number"),
        ({"prompt": "Q?", "responses": ["Oak.", None]}, "responses[1]", "it is null"),
        ({"prompt": "Q?", "responses": [{"text": "a"}, {"label": "b"}]}, "text", "Fields of this row: label"),
        ({"prompt": "Q?", "response_1": "Oak.", "response_2": ""}, "responses", "are 1"),
        ({"prompt": "Q?", "response": "Oak."}, "responses", "two columns such as response_1"),
    ],
)
def test_what_is_refused(row: dict[str, Any], field: str, word: str) -> None:
    reading, records = read(row)
    assert (records, reading.refusals[0].field) == ([], field)
    assert word in reading.refusals[0].message


def test_a_table_with_lists_in_cells_or_a_column_each() -> None:
    for table in (
        'prompt,responses\nName a tree.,"[""Oak."", ""Sand."", ""Elm.""]"\n',
        "prompt,response 1,response 2,response 3\nName a tree.,Oak.,Sand.,Elm.\n",
    ):
        reading = Reading(io.BytesIO(table.encode()), "responses")
        assert [item.record.responses for item in reading] == [TEXTS], reading.refusals  # type: ignore[attr-defined]


def test_columns_named_by_hand() -> None:
    table = b"Q,One,Two\nName a tree.,Oak.,Sand.\n"
    mapping = {"prompt": "Q", "response_1": "One", "response_2": "Two"}
    (item,) = Reading(io.BytesIO(table), "responses", mapping=mapping)
    assert item.record.responses == ("Oak.", "Sand.")  # type: ignore[attr-defined]


def test_they_fill_a_projects_tasks_and_come_back_from_an_export(as_: As) -> None:
    engineer = as_(Role.ENGINEER)
    data = b"\n".join(json.dumps(SHAPES[name] | {"prompt": f"{name}?"}).encode() for name in ("a list", "objects"))
    made = engineer.post("/v1/datasets", files={"file": ("r.jsonl", data)}, data={"kind": "responses"})
    assert made.status_code == 201, made.text
    dataset = made.json()["dataset"]
    project = engineer.post("/v1/projects", json={"name": "trees", "responses_per_task": 3, "overlap": 1}).json()["id"]
    filled = engineer.post(f"/v1/projects/{project}/tasks:from-dataset", json={"dataset": dataset})
    assert (filled.status_code, filled.json()["tasks"]) == (201, 2), filled.text
    frozen = engineer.post("/v1/snapshots", json={"dataset": dataset, "kind": "responses"}).json()
    for format in ("jsonl", "trl", "parquet", "records-parquet", "csv"):
        exported = engineer.get(f"/v1/snapshots/{frozen['id']}/export", params={"format": format}).content
        reading = Reading(io.BytesIO(exported), "responses")
        found = [(item.record.prompt.text, item.record.responses) for item in reading]  # type: ignore[attr-defined]
        assert found == [("a list?", TEXTS), ("objects?", TEXTS)], (format, reading.refusals)


def test_the_page_shows_them_and_offers_them_to_a_project(as_: As, browser_of: Any) -> None:
    engineer, browser = as_(Role.ENGINEER), browser_of(Role.ENGINEER)
    data = json.dumps(SHAPES["a list"]).encode()
    seen = browser.post("/datasets/preview", data={"kind": "responses"}, files={"file": ("r.jsonl", data)}).text
    assert "Response 3" in seen
    assert "Elm." in seen
    engineer.post("/v1/datasets", files={"file": ("r.jsonl", data)}, data={"kind": "responses"})
    project = engineer.post("/v1/projects", json={"name": "trees"}).json()["id"]
    assert "r.jsonl" in browser.get(f"/projects/{project}").text
