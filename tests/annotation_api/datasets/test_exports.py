"""Every kind in every format: the columns, the same bytes again, and that others can load the files."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from alignment.shared.records import Answer, Answers, Demonstration, Message, Prompt, Ranking, Record, RuleVerdict
from annotation_api.datasets import exports
from annotation_api.datasets.exports import ExportFormat, cell, export

TALK = Prompt(
    messages=(
        Message(role="system", content="Be kind."),
        Message(role="user", content="=HYPERLINK(1)"),
        Message(role="assistant", content="-"),
        Message(role="user", content="好吗？"),
    ),
    criterion="helpful",
    language="zh",
)
ASKED = Prompt.from_text("=1+2")
WHO: dict[str, Any] = {"annotator": "annotator-7", "lineage": {"task": "t", "submission": "s"}}
RECORDS: dict[str, list[Record]] = {
    "rankings": [
        Ranking(prompt=ASKED, responses=("+a", "b, \"c\"\n", "@d"), groups=((2,), (0, 1)), strength=3, **WHO),
        Ranking(prompt=TALK, responses=("x", "y"), groups=((0, 1),), ratings=(1, 7), flags=((), ("pii",)), **WHO),
        Ranking(prompt=TALK, responses=("x", "\ty"), groups=((0,), (1,)), broken_rules=(("r",), ()), rationale="w"),
    ],
    "demonstrations": [Demonstration(prompt=ASKED, response="-1"), Demonstration(prompt=TALK, response="\rgut")],
    "prompts": [ASKED, TALK],
    "verdicts": [
        RuleVerdict(prompt=TALK, response="=x", rule="threats", text="No threats.", verdict=said,
                criterion="harmless", **WHO)
        for said in ("broken", "kept", "unsure")
    ],
    "answers": [
        Answers(
            prompt=ASKED,
            responses=("-a", "b"),
            answers=(Answer(question="ok", text="Ok?", value=True), Answer(question="n", text="How much?", value=3),
                     Answer(question="why", text="Why?", value="=why", criterion="honest")),
            flags=(("pii",), ()),
            **WHO,
        )
    ],
}  # fmt: skip
RECORDS["preferences"], RECORDS["conversations"] = RECORDS["rankings"], RECORDS["demonstrations"]


def exported(kind: str, format: str, records: Sequence[Record] | None = None) -> bytes:
    lines = [record.canonical() for record in (RECORDS[kind] if records is None else records)]
    return b"".join(export(lines, kind, ExportFormat(format)))


def objects(kind: str, format: str = "trl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in exported(kind, format).splitlines()]


def test_a_verdict_is_an_unpaired_preference() -> None:
    rows = objects("verdicts")
    assert [(row["label"], row["verdict"]) for row in rows] == [(False, "broken"), (True, "kept"), (None, "unsure")]
    assert rows[0]["completion"] == [{"role": "assistant", "content": "=x"}]
    assert (rows[0]["rule"], rows[0]["text"], rows[0]["criterion"]) == ("threats", "No threats.", "harmless")


def test_each_answer_is_a_row_with_its_value_as_json() -> None:
    rows = objects("answers")
    assert [(row["question"], json.loads(row["value"])) for row in rows] == [("ok", True), ("n", 3), ("why", "=why")]
    assert [row["criterion"] for row in rows] == [None, None, "honest"]
    assert rows[0]["responses"] == ["-a", "b"]


@pytest.mark.parametrize("kind", RECORDS)
def test_parquet_holds_the_rows_of_the_json_lines(kind: str) -> None:
    table = parquet.read_table(io.BytesIO(exported(kind, "parquet"))).to_pylist()
    assert table == objects(kind)


@pytest.mark.parametrize("kind", RECORDS)
def test_records_in_full_lose_nothing(kind: str) -> None:
    """Each record can be made again from its row of Parquet."""
    table = parquet.read_table(io.BytesIO(exported(kind, "records-parquet"))).to_pylist()
    assert [remade(row, type(record)) for row, record in zip(table, RECORDS[kind], strict=True)] == RECORDS[kind]


def remade(row: dict[str, Any], kind: type[Record]) -> Record:
    prompt = {"messages": row.pop("prompt"), "criterion": row.pop("prompt_criterion"), "language": row.pop("language")}
    lineage, split = json.loads(row.pop("lineage")), row.pop("split")
    assert split in ("train", "heldout")
    if kind is Prompt:
        return Prompt.model_validate_json(json.dumps(prompt))
    for answer in row.get("answers", ()):
        answer["value"] = json.loads(answer["value"])
    return kind.model_validate_json(json.dumps({**row, "prompt": prompt, "lineage": lineage}))


@pytest.mark.parametrize("kind", RECORDS)
def test_no_cell_of_a_spreadsheet_is_a_formula(kind: str) -> None:
    table = list(csv.reader(io.StringIO(exported(kind, "csv").decode(), newline="")))
    rows = objects(kind)
    assert set(table[0]) == set(rows[0])
    assert len(table) == len(rows) + 1
    for found in (found for row in table for found in row):
        assert not found.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")), found


@pytest.mark.parametrize(
    "before",
    [
        *("", " ", "  ", "\u00a0", "\u3000", ",", ";", "|", "\ufeff", "\u200b", " ;\u00a0"),
        *("\u202e", "\u2066", "\u061c", "\u2061", "\ufe0f", "\0", "\x1b", "\x7f"),
    ],
)
@pytest.mark.parametrize("formula", ["=1+2", "+1", "-1", "@SUM(A1)", "＝1", "﹦1", "﹢1", "﹣1", "﹫A1"])
def test_a_formula_is_disarmed_whatever_is_overlooked_before_it(before: str, formula: str) -> None:
    assert cell(before + formula) == f"'{before}{formula}"
    assert cell(f"a{before}{formula}") == f"a{before}{formula}"


def test_a_table_worked_by_hand() -> None:
    record = RECORDS["rankings"][0].model_copy(update={"lineage": {}})
    split = json.loads(exported("rankings", "trl", [record]).splitlines()[0])["split"]
    third = 2 / 3
    assert exported("rankings", "csv", [record]).decode() == (
        "prompt,chosen,rejected,margin,weight,split,lineage\r\n"
        f"'=1+2,'@d,'+a,{third},0.5,{split},{{}}\r\n"
        f'\'=1+2,\'@d,"b, ""c""\n",{third},0.5,{split},{{}}\r\n'
    )


@pytest.mark.parametrize("format", list(ExportFormat))
def test_the_same_snapshot_gives_the_same_bytes(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = exported("rankings", format)
    assert exported("rankings", format) == first
    if "parquet" not in format:  # the pieces are no part of the file
        monkeypatch.setattr(exports, "PIECE", 1)
        assert exported("rankings", format) == first


def test_a_file_comes_in_pieces_and_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "GROUP", 5000)
    many = [Ranking(prompt=ASKED, responses=(f"a{n}", "b" * 500), groups=((0,), (1,))) for n in range(50)]
    lines = [record.canonical() for record in many]
    pieces = list(export(lines, "rankings", ExportFormat.PARQUET))
    file = parquet.ParquetFile(io.BytesIO(b"".join(pieces)))
    assert file.metadata.num_row_groups > 5
    assert len(pieces) > 5
    assert [row["chosen"][0]["content"] for row in file.read().to_pylist()] == [f"a{n}" for n in range(50)]


LOAD = """
import json, sys
import datasets
datasets.disable_progress_bars()
found = {}
for name, builder in json.loads(sys.argv[1]).items():
    loaded = datasets.load_dataset(builder, data_files=name, split="train", cache_dir=sys.argv[2])
    found[name.rsplit("/", 1)[-1]] = [len(loaded), loaded.column_names]
print(json.dumps(found))
"""


def test_the_files_load_into_datasets(tmp_path: Path) -> None:
    """In a process of its own: the service may not load that library."""
    builders = {"trl": "json", "jsonl": "json", "parquet": "parquet", "records-parquet": "parquet", "csv": "csv"}
    files = {}
    for kind in ("rankings", "answers", "verdicts"):
        for format, builder in builders.items():
            path = tmp_path / f"{kind}.{format}"
            path.write_bytes(exported(kind, format))
            files[str(path)] = builder
    command = [sys.executable, "-c", LOAD, json.dumps(files), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, env={"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    pairs = ["prompt", "chosen", "rejected", "margin", "weight", "split", "lineage"]
    for format in ("trl", "parquet", "csv"):
        assert found[f"rankings.{format}"][0] == 3
        assert sorted(found[f"rankings.{format}"][1]) == sorted(pairs)
    assert [found[f"{kind}.jsonl"][0] for kind in ("rankings", "answers", "verdicts")] == [3, 1, 3]
    assert found["rankings.records-parquet"][0] == 3
