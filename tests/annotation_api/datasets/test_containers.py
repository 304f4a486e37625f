"""Wrappings beyond the cases: what R, old Macs, pandas, numpy and zip tools leave in a file."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from annotation_api.cli.client import ClientError
from annotation_api.cli.commands.folders import as_file
from annotation_api.datasets.formats.reading import Reading

PAIR = {"prompt": "Name a tree.", "chosen": "Oak.", "rejected": "Sand."}
OTHER = PAIR | {"prompt": "Another?"}
LINE, SECOND = json.dumps(PAIR).encode(), json.dumps(OTHER).encode()
CSV = "prompt,chosen,rejected\nName a tree.,Oak.,Sand.\n"


def read(data: bytes, kind: str = "preferences") -> tuple[Reading, list[Any]]:
    reading = Reading(io.BytesIO(data), kind)
    return reading, [item.record for item in reading]


def zipped(**files: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "."), data)
    return target.getvalue()


def numpy_chat(answer: str) -> str:
    turns = "[{'content': 'Name a tree.', 'role': 'user'}\n {'content': '%s', 'role': 'assistant'}]"
    return turns % answer


FILES: dict[str, bytes] = {
    "R's write.table": b'"prompt","chosen","rejected"\n"1","Name a tree.","Oak.","Sand."\n',
    "an old Mac's line ends, and a line in a cell": b'prompt,chosen,rejected\r"Name a tree.","Oak.",Sand.\r'.replace(
        b"Sand.", b'"Sand."'
    ),
    "empty lines before the header": b"\n\n" + CSV.encode(),
    "rows of commas behind the data": CSV.encode() + b",,\n,,\n",
    "chats as numpy prints them": f'chosen,rejected\n"{numpy_chat("Oak.")}","{numpy_chat("Sand.")}"\n'.encode(),
    "a README in the zip": zipped(pairs_jsonl=LINE, README_md=b"# Hi", LICENSE=b"x"),
    "pandas by index": json.dumps({"0": PAIR}).encode(),
    "pandas by column, named rows": json.dumps({k: {"a": v} for k, v in PAIR.items()}).encode(),
    "lists by column": json.dumps({k: [v] for k, v in PAIR.items()}).encode(),
}


@pytest.mark.parametrize("data", FILES.values(), ids=list(FILES))
def test_the_pair_is_read(data: bytes) -> None:
    reading, records = read(data)
    assert reading.refusals == []
    ((record),) = records
    assert (record.prompt.text, record.responses, record.groups) == ("Name a tree.", ("Oak.", "Sand."), ((0,), (1,)))


def test_a_line_end_in_a_cell_of_an_old_mac() -> None:
    (record,) = read(b'prompt,chosen,rejected\r"Name\na tree.",Oak.,Sand.\r')[1]
    assert record.prompt.text == "Name\na tree."


def test_commas_between_objects_say_nothing() -> None:
    reading, records = read(LINE + b",\n" + SECOND + b",\n")
    assert (len(records), reading.refusals) == (2, [])


def test_rows_whose_lists_have_a_wrapper_name_stay_rows() -> None:
    rows = [{"prompt": f"Q{i}?", "items": [{"a": 1}], "chosen": "x", "rejected": "y"} for i in range(2)]
    for data in (b"\n".join(json.dumps(row).encode() for row in rows), json.dumps(rows[0]).encode()):
        reading, records = read(data)
        assert (reading.refusals, reading.unused.keys()) == ([], {"items"})
        assert len(records) == data.count(b'"chosen"')


def test_western_text_is_read_where_its_neighbours_agree() -> None:
    german = "prompt,chosen,rejected\n" + "Nenne größere Früchte für Mäuse,Äpfel schmecken süß,Übermüdete Böden\n" * 5
    reading, (record,) = read(german.encode("cp1252"))
    assert record.responses == ("Äpfel schmecken süß", "Übermüdete Böden")
    assert reading.notes == ["the file was read as Windows-1252: 1"]


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Příliš žluťoučký kůň úpěl ďábelské ódy", "cp1250"),
        ("Où est le cœur de la forêt où naît la rivière", "cp1252"),  # like Czech letters in its neighbour
        ("Назовите дерево, пожалуйста", "cp1251"),
        ("請說出一種樹木的名字，謝謝你", "big5"),
        ("木の名前を言ってください", "shift_jis"),
    ],
)
def test_what_is_in_doubt_is_refused(text: str, codec: str) -> None:
    reading, records = read(f"prompt,chosen,rejected\n{f'{text},{text} a,{text} b' * 4}\n".encode(codec))
    assert (records, bool(reading.refusals)) == ([], True)


def test_a_list_that_python_printed() -> None:
    (record,) = read(b"prompt,responses\nQ?,\"['a', 'b']\"\n", "responses")[1]
    assert record.responses == ("a", "b")
    # As numpy prints it: without a comma two texts would become one.
    reading, records = read(b"prompt,responses\nQ?,\"['a' 'b', 'c']\"\n", "responses")
    assert (records, "no JSON" in reading.refusals[0].message) == ([], True)


def test_cells_that_r_left_empty_are_noted() -> None:
    reading, _ = read(b'"","prompt","chosen","rejected"\n"1","Q?","x",NA\n')
    assert reading.notes == ["cells that say nan, None, null or NA were read as that word: 1"]


def test_feather_of_the_first_version_is_refused_by_name() -> None:
    reading, _ = read(b"FEA1\0\0\0\0" + b"x" * 100)
    assert "Feather" in reading.refusals[0].message


# ---------------------------------------------------------------- a folder that `datasets` saved


def shard(*rows: dict[str, str]) -> bytes:
    target = io.BytesIO()
    table = pa.Table.from_pylist(list(rows))
    with pa.ipc.new_stream(target, table.schema) as writer:
        writer.write_table(table)
    return target.getvalue()


def saved(folder: Path, *shards: bytes, **state: Any) -> Path:
    """As `save_to_disk` lays it out; the order of the shards stands in state.json alone."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{len(shards):05}.arrow" for number in range(len(shards))]
    for name, data in zip(names, shards, strict=True):
        (folder / name).write_bytes(data)
    listed = {"_data_files": [{"filename": name} for name in reversed(names)], "_indices_data_files": None} | state
    (folder / "state.json").write_text(json.dumps(listed))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_a_folder_of_datasets_is_read_in_its_order(tmp_path: Path) -> None:
    with as_file(saved(tmp_path / "train", shard(OTHER), shard(PAIR, OTHER | {"prompt": "Third?"}))) as packed:
        reading, records = read(packed.read_bytes())
    assert reading.refusals == []
    assert [record.prompt.text for record in records] == ["Name a tree.", "Third?", "Another?"]
    assert not packed.exists()


def test_what_such_a_folder_may_lack(tmp_path: Path) -> None:
    selected = saved(tmp_path / "selected", shard(PAIR), _indices_data_files=[{"filename": "indices.arrow"}])
    with as_file(selected) as packed:
        assert "flatten_indices" in read(packed.read_bytes())[0].refusals[0].message
    short = saved(tmp_path / "short", shard(PAIR), _data_files=[{"filename": "gone.arrow"}])
    with as_file(short) as packed:
        assert "lacks gone.arrow" in read(packed.read_bytes())[0].refusals[0].message
    for name in ("train", "test"):
        saved(tmp_path / "dict" / name, shard(PAIR))
    (tmp_path / "dict" / "dataset_dict.json").write_text("{}")
    with pytest.raises(ClientError, match=r"import one of them: .*test, .*train"), as_file(tmp_path / "dict"):
        pass
    with pytest.raises(ClientError, match="has not saved"), as_file(tmp_path):
        pass


def test_streams_one_after_another_are_read_to_the_end() -> None:
    assert len(read(shard(PAIR) + shard(OTHER))[1]) == 2
