"""People's own tables and tools: what says who is better, what their file takes back, and what is no row.

Each was read wrongly, or refused in words that mislead, before it stood here.
"""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from annotation_api.datasets.formats.reading import Reading
from tests.annotation_api.datasets.shapes.test_kin import ASKED, OAK, SAND, read

Row = dict[str, Any]
PAIR = {"prompt": "Name a tree.", "chosen": "Oak.", "rejected": "Sand."}
SHOWN = {"instruction": "Name a tree.", "output": "Oak."}


def table(text: str, kind: str = "preferences") -> tuple[Reading, list[Any]]:
    reading = Reading(io.BytesIO(text.encode()), kind)
    return reading, [item.record for item in reading]


def order(record: Any) -> list[list[str]]:
    return [[record.responses[i] for i in group] for group in record.groups]


RATED = [{"response": "Sand.", "annotations": {"a": {"Rating": "1"}, "b": {"Rating": "N/A"}}},
         {"response": "Oak.", "annotations": {"a": {"Rating": "4"}, "b": {"Rating": "5"}}}]  # fmt: skip
TWO = {"prompt": "Name a tree.", "response_a": "Oak.", "response_b": "Sand."}
BETTER: dict[str, Row] = {
    "UltraFeedback without an overall score": {"instruction": "Name a tree.", "completions": RATED},
    "counted from 0": {"prompt": "Name a tree.", "response_0": "Sand.", "response_1": "Oak.", "winner": 1},
    "a model's name": TWO | {"model_a": "m", "model_b": "n", "winner": "m"},
    "Arena-Hard": TWO | {"verdict": "[[A>>B]]"},
    "JudgeBench": {"question": "Name a tree.", "response_A": "Sand.", "response_B": "Oak.", "label": "B>A"},
    "in Chinese": TWO | {"winner": "A更好"},
    "a rank each": {"prompt": "Name a tree.", "response_1": "Sand.", "response_2": "Oak.", "rank_1": 2, "rank_2": 1},
    "a score each": {"prompt": "Name a tree.", "response_a": "Sand.", "response_b": "Oak.", "response_a_score": 2,
                     "response_b_score": 7},
    "an order in words": {"prompt": "Name a tree.", "response_1": "Sand.", "response_2": "Oak.", "ranking": "2 > 1"},
}  # fmt: skip


@pytest.mark.parametrize("row", BETTER.values(), ids=list(BETTER))
def test_the_better_one(row: Row) -> None:
    reading, (record,) = read(row)
    assert reading.refusals == []
    assert order(record) == [["Oak."], ["Sand."]]
    assert [turn.content for turn in record.prompt.messages] == ["Name a tree."]


TABLES = {
    "a rank a row": "prompt,response,rank,annotator\nQ?,x,2,u\nQ?,y,1,u\nQ?,z,2,u\nQ?,x,1,v\nQ?,y,2,v\n",
    "lists in cells": 'prompt,responses,ranks\nQ?,"[""x"",""y"",""z""]","[2,1,2]"\n',
    "scores in cells": 'prompt,responses,scores\nQ?,"[""x"",""y"",""z""]","[2,3.5,2]"\n',
    "a column each": "prompt,response_1,response_2,response_3,rank_1,rank_2,rank_3\nQ?,x,y,z,2,1,2\n",
    "an order": "prompt,response_1,response_2,response_3,ranking\nQ?,x,y,z,2>1=3\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=list(TABLES))
def test_ranks_in_a_table(text: str) -> None:
    reading, (record, *others) = table(text)
    assert reading.refusals == []
    assert order(record) == [["y"], ["x", "z"]]
    assert [(other.annotator, order(other)) for other in others] == ([("v", [["x"], ["y"]])] if others else [])


def test_a_score_beside_a_pair_makes_no_ranking_of_pairs() -> None:
    row = {"query": "Q?", "response": "x", "rejected_response": "y", "score": 1}
    reading, records = read(row, row | {"response": "z", "score": 2})
    assert (reading.format, [order(record) for record in records]) == ("beside", [[["x"], ["y"]], [["z"], ["y"]]])


def test_an_order_that_leaves_one_out_is_refused() -> None:
    reading, _ = table("prompt,response_1,response_2,response_3,ranking\nQ?,x,y,z,2>1\n")
    assert "must order every response" in reading.refusals[0].message


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": "Q?", "responses": ["x", "y"], "best": 1}, "one of the fields best says which is better"),
        ({"prompt": "Q?", "response 1": "x", "response 2": "y", "label": 1}, "count from 0 or from 1"),
        ({"question": "Q?", "answer": ["x", "y"]}, "hold no order"),
        ({"prompt": "Q?", "response": "x", "score": 3}, "sort the file"),
    ],
)
def test_no_advice_that_throws_the_order_away(row: Row, why: str) -> None:
    reading, records = read(row)
    assert (records, why in reading.refusals[0].message) == ([], True)


def test_a_list_of_answers_goes_where_it_is_sent() -> None:
    row = {"question": "Q?", "answer": ["x", "y"]}
    assert "import the file as responses" in read(row, kind="demonstrations")[0].refusals[0].message
    assert read(row, kind="responses")[1][0].responses == ("x", "y")


TAKEN_BACK: tuple[Row, ...] = (
    {"deleted": True}, {"spam": 1}, {"is_deleted": "true"}, {"status": "discarded"}, {"review_status": "Rejected"},
    {"answer": "reject"}, {"answer": "ignore"}, {"weight": 0},
)  # fmt: skip


@pytest.mark.parametrize("mark", TAKEN_BACK, ids=str)
@pytest.mark.parametrize(("row", "kind"), [(SHOWN, "demonstrations"), (PAIR, "preferences")])
def test_what_a_file_takes_back_is_left_out_and_counted(row: Row, kind: str, mark: Row) -> None:
    reading, records = read(row | mark, row, kind=kind)
    assert (len(records), reading.refusals) == (1, [])
    assert [note.rsplit(" ", 4)[1:] for note in reading.notes] == [["were", "left", "out:", "1"]]


def test_what_says_that_a_row_stands_is_read() -> None:
    reading, (record,) = read(SHOWN | {"deleted": False, "spam": None, "status": "submitted"}, kind="demonstrations")
    assert (record.response, reading.unused, reading.notes) == ("Oak.", {"status": 1}, [])
    reading, (record,) = read({"prompt": "Q?", "response": "x", "answer": "accept"}, kind="demonstrations")
    assert (record.response, reading.unused) == ("x", {})
    (record,) = read({"question": "What does a bad door do?", "answer": "reject"}, kind="demonstrations")[1]
    assert record.response == "reject"


@pytest.mark.parametrize("name", ["loss", "train", "training"])
def test_a_turn_that_is_not_to_be_learnt(name: str) -> None:
    more = {"role": "user", "content": "More?"}
    reading, records = read(
        {"messages": [ASKED, OAK, more, SAND | {name: False}]},
        {"messages": [ASKED, OAK | {name: False}, more, SAND | {name: True}]},
        {"messages": [more, OAK | {name: 0.3}]},
        kind="demonstrations",
    )
    assert reading.refusals == []
    assert [(record.response, record.not_learnt) for record in records] == [("Oak.", ()), ("Sand.", (1,)), ("Oak.", ())]


def test_exchanges_are_turns() -> None:
    said = [{"human": "Hi", "assistant": "Hello"}, {"human": "Name a tree.", "assistant": "Oak."}]
    reading, (record,) = read({"conversation_id": 1, "conversation": said}, kind="demonstrations")
    assert reading.refusals == []
    assert ([turn.content for turn in record.prompt.messages], record.response) == (
        ["Hi", "Hello", "Name a tree."],
        "Oak.",
    )


def test_chats_as_json_in_a_field_of_their_own() -> None:
    (record,) = read({"messages": json.dumps([ASKED, OAK])}, kind="demonstrations")[1]
    assert record.response == "Oak."


@pytest.mark.parametrize(
    "text",
    [
        "用户：你好\n助手：好\n用户：问\n助手：",
        "[Round 1]\n\n问：你好\n\n答：",
        "User: Name a tree.\n\nAssistant:",
        "[gMASK]<sop><|user|>\nName a tree.<|assistant|>",
        "<bos><start_of_turn>user\nName a tree.<end_of_turn>\n",
        "<｜begin▁of▁sentence｜><｜User｜>Name a tree.<｜Assistant｜>",
        "<|start|>user<|message|>Name a tree.<|end|>",
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Name a tree.",
        "<|start_of_role|>user<|end_of_role|>Name a tree.",
        "[SYSTEM_PROMPT]Be kind.[/SYSTEM_PROMPT][INST]Name a tree.[/INST]",
    ],
)
def test_a_chat_in_a_template_is_never_text(text: str) -> None:
    reading, records = read({"prompt": text, "completion": "Oak."}, kind="demonstrations")
    assert (records, "whole chat as one text" in reading.refusals[0].message) == ([], True)


@pytest.mark.parametrize("text", ["用户：是谁？", "What is a User: field?", "问：一加一等于几？"])
def test_words_of_a_template_alone_are_text(text: str) -> None:
    assert read({"prompt": text, "completion": "Oak."}, kind="demonstrations")[0].refusals == []


def test_a_markdown_table() -> None:
    reading, (record,) = table("| prompt | chosen | rejected |\n|:--|---|--:|\n| Q? | x | y |\n")
    assert (record.prompt.text, order(record)) == ("Q?", [["x"], ["y"]])
    assert reading.notes == ["the line under the header of a Markdown table was left out: 1"]


def test_what_qualtrics_writes_below_its_header() -> None:
    ids = ",".join(['"{""ImportId"":""q""}"'] * 4)
    reading, (record,) = table(f"StartDate,prompt,chosen,rejected\nStart,Prompt,Chosen,Rejected\n{ids}\n2024,Q?,x,y\n")
    assert (record.prompt.text, len(reading.notes)) == ("Q?", 1)


@pytest.mark.parametrize(
    "header",
    [
        'Timestamp,"Which is better, A or B?",Name',
        "What was asked?,Bob's text & mine,+",
        '"prompt, text";chosen;rejected',
    ],
)
def test_questions_are_names_of_columns(header: str) -> None:
    parted = ";" if ";" in header else ","
    reading, _ = table(f"{header}\na{parted}b{parted}c\n")
    assert reading.unknown  # somebody says which column holds what
    assert len(reading.columns) == 3


def table_of(names: list[str], *, arrow: bool) -> bytes:
    file = io.BytesIO()
    columns = pyarrow.table([["Q?"], ["x"], ["y"], ["other"]], names=names)
    if arrow:
        with pyarrow.ipc.new_stream(file, columns.schema) as writer:
            writer.write_table(columns)
    else:
        pyarrow.parquet.write_table(columns, file)
    return file.getvalue()


@pytest.mark.parametrize("arrow", [True, False])
def test_a_column_that_stands_twice_is_refused(arrow: bool) -> None:
    reading = Reading(io.BytesIO(table_of(["prompt", "chosen", "rejected", "prompt"], arrow=arrow)), "preferences")
    assert list(reading) == []
    assert "names a column twice: prompt" in reading.refusals[0].message


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:a\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "a page of HTML"),
        (b"<?xml version='1.0'?><rows/>", "XML"),
        (b"PK\3\4" + b"\0" * 26 + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheetPK", "an OpenDocument file"),
        (b"PK\3\4" + b"\0" * 26 + b"[Content_Types].xml" + b"\0" * 50 + b"word/document.xml", "a Word document"),
        ("说出一种树。\n".encode(), "names no columns"),
    ],
)
def test_what_is_no_data_is_told_what_it_is(data: bytes, why: str) -> None:
    reading = Reading(io.BytesIO(data), "prompts")
    assert list(reading) == []
    assert why in reading.refusals[0].message


STUDIO = {"id": 1, "data": {"prompt": "Name a tree."}}
WROTE = {"completed_by": 1, "result": [{"type": "textarea", "value": {"text": ["Oak."]}}]}
WRITTEN: dict[str, Row] = {
    "Label Studio's text area": STUDIO | {"annotations": [WROTE, {"was_cancelled": True, "result": []}]},
    "its JSON-MIN": {"prompt": "Name a tree.", "response": "Oak.", "id": 1, "annotator": 1, "annotation_id": 1},
    "Argilla's text question": {"fields": {"instruction": "Name a tree."}, "responses": {
        "response": [{"value": "Oak.", "user_id": "u", "status": "submitted"},
                     {"value": "Sand.", "user_id": "v", "status": "discarded"}]}},
}  # fmt: skip


@pytest.mark.parametrize("row", WRITTEN.values(), ids=list(WRITTEN))
def test_what_people_wrote_is_a_demonstration(row: Row) -> None:
    reading, (record,) = read(row, kind="demonstrations")
    assert (reading.refusals, record.prompt.text, record.response) == ([], "Name a tree.", "Oak.")


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"question": "Q?", "reply of A": "x", "reply of B": "y", "outcome": "A"}, "preferences"),
        ({"prompt": "Q?", "label": "x is what it is"}, "demonstrations"),
        ({"what was asked": "Q?", "chosen": "x", "rejected": "y"}, "preferences"),
    ],
)
def test_where_a_column_is_not_known_somebody_says_it(row: Row, kind: str) -> None:
    assert read(row, kind=kind)[0].unknown
