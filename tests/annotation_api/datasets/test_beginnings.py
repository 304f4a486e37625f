"""A preview of the first megabytes of a file: only whole rows, in every container that can be cut."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from fastapi.testclient import TestClient

from annotation_api.datasets.formats.reading import Reading
from annotation_api.db.tables import Role

As = Callable[..., TestClient]
ROWS = [{"prompt": f"Name tree {i}, 说一棵树。", "chosen": f"Oak {i}.", "rejected": f"Sand {i}."} for i in range(400)]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
TABLE = "prompt,chosen,rejected\n" + "\n".join(f'"{r["prompt"]}","{r["chosen"]}","{r["rejected"]}"' for r in ROWS)
NOISE = random.Random(0)  # packed files are cut in their middle only where they are larger than what is read at once
LONG = [row | {"chosen": f"Oak {NOISE.randbytes(2000).hex()}"} for row in ROWS]
LONG_LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in LONG)
FILES: dict[str, bytes] = {
    "lines": LINES.encode(),
    "array": json.dumps(ROWS).encode(),
    "several lines each": json.dumps(ROWS, indent=1).encode(),
    "wrapped": json.dumps({"data": ROWS}).encode(),
    "table": TABLE.encode(),
    "UTF-16": TABLE.encode("utf-16"),
    "gzip": gzip.compress(LONG_LINES.encode()),
    "zstd": zstandard.ZstdCompressor(level=1).compress(LONG_LINES.encode()),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.5, 0.77, 0.9, 0.99])
def test_the_whole_rows_of_a_file_that_was_cut(name: str, share: float) -> None:
    data = FILES[name]
    reading = Reading(io.BytesIO(data[: int(len(data) * share)]), "preferences", beginning=True)
    found = [item.record.prompt.text for item in reading]  # type: ignore[attr-defined]
    assert reading.refusals == []
    assert found == [row["prompt"] for row in ROWS[: len(found)]]
    assert 0 < len(found) < len(ROWS)


def test_a_beginning_without_a_whole_row_says_so() -> None:
    reading = Reading(io.BytesIO(FILES["lines"][:60]), "preferences", beginning=True)
    assert list(reading) == []
    assert "holds no whole row" in reading.refusals[0].message


def test_without_the_word_a_cut_file_is_refused() -> None:
    reading = Reading(io.BytesIO(FILES["array"][:5000]), "preferences")
    list(reading)
    assert reading.broken


def test_the_service_is_told(as_: As) -> None:
    files = {"file": ("t.csv", FILES["table"][:4000])}
    form = {"kind": "preferences", "beginning": "true"}
    seen = as_(Role.ENGINEER).post("/v1/datasets:preview", files=files, data=form).json()
    assert (seen["beginning"], seen["rejected"], seen["broken"]) == (True, 0, False)
    assert 0 < seen["accepted"] < len(ROWS)


def test_the_page_asks_for_the_whole_file_with_the_yes(browser_of: Any) -> None:
    browser = browser_of(Role.ENGINEER)
    form = {"kind": "preferences", "beginning": "yes"}
    seen = browser.post("/datasets/preview", data=form, files={"file": ("t.csv", FILES["table"][:4000])}).text
    assert "first 4 MB" in seen
    token = seen.split('name="token" value="')[1].split('"')[0]
    fields = {**form, "token": token, "name": "t.csv"}
    assert browser.post("/datasets", data=fields).status_code == 422
    done = browser.post("/datasets", data=fields, files={"whole": ("t.csv", FILES["table"])})
    assert done.status_code == 303, done.text
    assert "400" in browser.get(done.headers["location"]).text
