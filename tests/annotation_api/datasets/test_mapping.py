"""Columns named by hand: read, refused by name, kept with the data set, offered for the next file."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from annotation_api.datasets.formats.mapping import checked, parsed
from annotation_api.datasets.formats.reading import Reading
from annotation_api.db.tables import Role

As = Callable[..., TestClient]
TABLE = (
    b"HITId,Input.question,Answer.best,Answer.worst,WorkerId\n"
    b"1,Name a tree.,Oak.,Sand.,w1\n2,Name a sea.,Red.,Oak.,w2\n"
)
MAP = {
    "prompt": "Input.question",
    "chosen": "Answer.best",
    "rejected": "Answer.worst",
    "annotator": "WorkerId",
}


def test_a_batch_is_read_by_the_names_of_its_columns() -> None:
    reading = Reading(io.BytesIO(TABLE), "preferences", mapping=MAP)
    records: list[Any] = [item.record for item in reading]
    assert reading.refusals == []
    assert [(r.prompt.text, r.responses, r.annotator) for r in records] == [
        ("Name a tree.", ("Oak.", "Sand."), "w1"),
        ("Name a sea.", ("Red.", "Oak."), "w2"),
    ]
    assert reading.unused == {"HITId": 2}
    assert reading.columns == ["HITId", "Input.question", "Answer.best", "Answer.worst", "WorkerId"]


def test_a_path_leads_into_objects() -> None:
    row = {"in": {"q": "Name a tree."}, "out": {"text": "Oak."}}
    reading = Reading(
        io.BytesIO(json.dumps(row).encode()), "demonstrations", mapping={"prompt": "in.q", "response": "out.text"}
    )
    assert [item.record.response for item in reading] == ["Oak."]  # type: ignore[attr-defined]


def test_a_column_that_is_not_there_is_named() -> None:
    reading = Reading(io.BytesIO(TABLE), "prompts", mapping={"prompt": "Question"})
    assert list(reading) == []
    assert reading.refusals[0].field == "Question"
    assert "its columns are HITId, Input.question" in reading.refusals[0].message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "must be a JSON object"),
        ("[" * 3000, "must be a JSON object"),
        ('{"prompt": 1}', "must be a JSON object"),
        ('{"prompt": "a", "colour": "b"}', "'colour', which is no field"),
        ('{"prompt": "a", "chosen": " "}', "name the column of chosen, rejected"),
        (json.dumps({"prompt": "x" * 301, "chosen": "b", "rejected": "c"}), "more than 300 characters"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        parsed(text, "preferences")


def test_empty_columns_are_left_out() -> None:
    assert checked({"prompt": "a", "system": ""}, "prompts") == {"prompt": "a"}


def test_the_mapping_is_kept_and_offered_for_the_same_columns(as_: As) -> None:
    engineer = as_(Role.ENGINEER)
    form = {"kind": "preferences", "map": json.dumps(MAP)}
    made = engineer.post("/v1/datasets", files={"file": ("batch.csv", TABLE)}, data=form)
    assert made.status_code == 201, made.text
    assert (made.json()["accepted"], made.json()["unused"]) == (2, {"HITId": 2})
    shown = engineer.get(made.headers["location"]).json()
    assert shown["mapping"]["map"] == MAP
    again = engineer.post(
        "/v1/datasets:preview", files={"file": ("next.csv", TABLE)}, data={"kind": "preferences"}
    ).json()
    assert (again["accepted"], again["offered"]) == (0, MAP)
    other = engineer.post(
        "/v1/datasets:preview", files={"file": ("x.csv", TABLE[2:])}, data={"kind": "preferences"}
    ).json()
    assert other["offered"] == {}
    wrong = engineer.post("/v1/datasets", files={"file": ("b.csv", TABLE)}, data={"kind": "preferences", "map": "{}"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/map")


def test_a_file_of_no_known_layout_leads_to_its_columns(as_: As, browser_of: Any) -> None:
    """In one short sentence, on the page and in REST; the page's link leads to the form that is open below it."""
    table = b"Frage,links,rechts\nWarum?,Rot.,Blau.\n"
    sent = {"data": {"kind": "preferences"}, "files": {"file": ("b.csv", table)}}
    page = browser_of(Role.ENGINEER).post("/datasets/preview", **sent).text
    assert '<a href="#columns">' in page
    assert re.search(r'<details class="panel" id="columns" open>', page)
    assert "What was refused" not in page
    said = as_(Role.ENGINEER).post("/v1/datasets", **sent).json()
    assert said["unknown"]
    why = "no known layout has the fields Frage, links, rechts; preferences need prompt and chosen and rejected"
    assert said["errors"][0]["message"].startswith(why)
    assert "--map" not in page
    bad = {
        "data": {"kind": "preferences"},
        "files": {"file": ("b.jsonl", b'{"prompt": 1, "chosen": 2, "rejected": 3}')},
    }
    assert not as_(Role.ENGINEER).post("/v1/datasets", **bad).json()["unknown"]


def test_columns_are_named_on_the_page(as_: As, browser_of: Any) -> None:
    browser = browser_of(Role.ENGINEER)
    seen = browser.post("/datasets/preview", data={"kind": "preferences"}, files={"file": ("b.csv", TABLE)}).text
    assert "--" not in re.sub(r"<[^>]*>", "", seen.split("<main")[1])
    form = seen.split('action="/datasets/map"')[1]
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
    hidden.pop("field")
    columns = {"field": list(MAP), "column": list(MAP.values())}
    mapped = browser.post("/datasets/map", data={**hidden, **columns}).text
    assert "Red." in mapped
    fields = dict(
        re.findall(r'name="(\w+)" value="([^"]*)"', mapped.split('action="/datasets"')[1].split("</form>")[0])
    )
    fields["map"] = fields["map"].replace("&#34;", '"')
    done = browser.post("/datasets", data=fields)
    assert done.status_code == 303, done.text
    assert "Red." in browser.get(done.headers["location"]).text
