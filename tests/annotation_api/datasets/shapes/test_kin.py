"""Kin of the public shapes: other tools, other names and letter cases, and texts that only look like plain ones."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation_api.datasets.formats import serialised
from annotation_api.datasets.formats.reading import FOLDED, Reading

ASKED = {"role": "user", "content": "Name a tree."}
OAK, SAND = {"role": "assistant", "content": "Oak."}, {"role": "assistant", "content": "Sand."}


def read(*rows: dict[str, Any], kind: str = "preferences") -> tuple[Reading, list[Any]]:
    reading = Reading(io.BytesIO(b"\n".join(json.dumps(row).encode() for row in rows)), kind)
    return reading, [item.record for item in reading]


def message(key: str, parent: str | None, role: str, text: str, rank: int | None = None, **more: Any) -> dict[str, Any]:
    flat = {"message_id": key, "parent_id": parent, "role": role, "text": text, "rank": rank, "message_tree_id": "t"}
    return flat | {"tree_state": "ready_for_export"} | more


FLAT = [
    message("a", None, "prompter", "Name a tree."),
    message("b", "a", "assistant", "Sand.", 1),
    message("c", "a", "assistant", "Oak.", 0),
    message("d", "c", "prompter", "Another?"),
    message("e", "d", "assistant", "Elm."),
]
WEBUI = {
    "user_id": "u",
    "data": {"rating": 1, "model_id": "m"},
    "meta": {"message_id": "y"},
    "snapshot": {"chat": {"chat": {"history": {"messages": {
        "x": {"parentId": None, "childrenIds": ["y", "z"], **ASKED},
        "y": {"parentId": "x", "childrenIds": [], **OAK},
        "z": {"parentId": "x", "childrenIds": [], **SAND},
    }}}}},
}  # fmt: skip
RANKER = {"data": {"prompt": "Name a tree.", "items": [{"id": "1", "body": "Sand."}, {"id": "2", "body": "Oak."}]}}

# a row, and which response is better
PAIRS: dict[str, dict[str, Any]] = {
    "chosen_response": {"prompt": "Name a tree.", "chosen_response": "Oak.", "rejected_response": "Sand."},
    "pos_resp": {"prompt": "Name a tree.", "pos_resp": "Oak.", "neg_resp": "Sand."},
    "Chosen": {"Prompt": "Name a tree.", "Chosen": "Oak.", "Rejected": "Sand."},
    "beside a chat": {"messages": [ASKED, OAK], "rejected_response": "Sand."},
    "beside a chat, whole": {"messages": [ASKED, OAK], "rejected_messages": [ASKED, SAND]},
    "beside an answer": {"query": "Name a tree.", "response": "Oak.", "rejected_response": "Sand."},
    "a letter": {"prompt": "Name a tree.", "response_a": "Sand.", "response_b": "Oak.", "preference": "B"},
    "a side's name": {"prompt": "Name a tree.", "response_a": "Oak.", "response_b": "Sand.", "winner": "response_a"},
    "a number of numbered sides": {"prompt": "Name a tree.", "response_1": "Sand.", "response_2": "Oak.", "better": 2},
    "chats as JSON": {"prompt": json.dumps([ASKED]), "chosen": json.dumps([OAK]), "rejected": json.dumps([SAND])},
    "turns in capitals": {"chosen": [{"Role": "User", "Content": "Name a tree."}, OAK], "rejected": [ASKED, SAND]},
    "fine-grained scores": {"instruction": "Name a tree.", "completions": [
        {"response": "Sand.", "fine-grained_score": 1}, {"response": "Oak.", "fine-grained_score": 4.5}]},
    "Open WebUI": WEBUI,
    "Open WebUI, a thumb down": WEBUI | {"data": {"rating": -1}, "meta": {"message_id": "z"}},
    "Label Studio's ranker": RANKER | {"annotations": [{"result": [{"value": {"ranker": {"rank": ["2", "1"]}}}]}]},
    "winner in capitals": {"conversation_a": [ASKED, OAK], "conversation_b": [ASKED, SAND], "winner": "Model_A"},
}  # fmt: skip


@pytest.mark.parametrize("row", PAIRS.values(), ids=list(PAIRS))
def test_the_better_one(row: dict[str, Any]) -> None:
    reading, records = read(row)
    assert reading.refusals == []
    ((record),) = records
    assert record.prompt.text == "Name a tree."
    assert [[record.responses[i] for i in group] for group in record.groups] == [["Oak."], ["Sand."]]


def test_names_in_capitals_are_noted() -> None:
    reading, _ = read(PAIRS["Chosen"])
    assert reading.notes == [f"{FOLDED}: 1"]


def test_flat_messages_are_the_trees_that_they_are() -> None:
    reading, (record,) = read(*FLAT)
    assert (reading.format, reading.refusals) == ("oasst", [])
    assert (record.responses, record.groups) == (("Sand.", "Oak."), ((1,), (0,)))
    _, (chat,) = read(*FLAT, kind="conversations")
    assert ([turn.content for turn in chat.prompt.messages], chat.response) == (
        ["Name a tree.", "Oak.", "Another?"],
        "Elm.",
    )
    _, (asked,) = read(*FLAT, kind="prompts")
    assert asked.text == "Name a tree."


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([*FLAT[1:3]], "is no message of this tree"),
        ([*FLAT, message("z", None, "prompter", "x", message_tree_id="u"), FLAT[0]], "came before"),
        ([*FLAT, message("f", None, "prompter", "Another root?")], "2 messages without a parent"),
    ],
)
def test_a_tree_that_is_not_whole_is_refused(rows: list[Any], why: str) -> None:
    reading, _ = read(*rows)
    assert why in reading.refusals[-1].message


def test_equal_ranks_of_argilla_are_a_tie() -> None:
    ranked = [{"value": name, "rank": rank} for name, rank in (("a", 2), ("b", 1), ("c", 1))]
    row = {"fields": {"prompt": "Q?", "a": "x", "b": "y", "c": "z"}, "responses": {"best": [{"value": ranked}]}}
    _, (record,) = read(row)
    assert [{record.responses[i] for i in group} for group in record.groups] == [{"y", "z"}, {"x"}]


@pytest.mark.parametrize(
    ("row", "field", "why"),
    [
        ({"prompt": "Q?", "response_a": "x", "response_b": "y", "winner": 1}, "winner", "A, B or tie, it is a number"),
        ({"prompt": "Q?", "response_1": "x", "response_2": "y", "winner": "A"}, "winner", "1, 2 or tie"),
        ({"prompt": "Q?", "response_1": "x", "response_2": "y", "winner": True}, "winner", "it is a boolean"),
        ({"prompt": "Q?", "chosen": "x", "rejected": "y", "margin": -1}, "margin", "rejected response would be"),
        ({"conversation_a": [ASKED, OAK], "conversation_b": [ASKED, SAND], "winner": None}, "winner", "missing"),
        (RANKER | {"annotations": [{"result": [{"value": {"ranker": ["2"]}}]}]}, "annotations[0]", "1 of 2 items"),
        ({"messages": [ASKED, OAK | {"weight": 0}], "rejected_response": "x"}, "", "not to be learnt"),
        (WEBUI | {"data": {"rating": 7}}, "data.rating", "1 (better) or -1"),
        ({"messages": [ASKED, OAK], "rejected_messages": [OAK, SAND]}, "rejected_messages", "parts from messages"),
    ],
)
def test_what_is_refused(row: dict[str, Any], field: str, why: str) -> None:
    reading, records = read(row)
    assert (records, reading.refusals[0].field) == ([], field)
    assert why in reading.refusals[0].message


TEMPLATES = (
    "<s>[INST] Name a tree. [/INST]",
    "<|start_header_id|>user<|end_header_id|>\n\nName a tree.<|eot_id|>",
    "Below is an instruction.\n\n### Instruction:\nName a tree.\n\n### Response:\n",
    "USER: Name a tree. ASSISTANT:",
    "Human: Name a tree.\nAssistant:",
    "<start_of_turn>user\nName a tree.<end_of_turn>",
    "[|Human|] Name a tree. [|AI|]",
)


@pytest.mark.parametrize("text", TEMPLATES)
def test_a_chat_in_a_models_own_template_is_never_text(text: str) -> None:
    for row in ({"prompt": text, "chosen": "Oak.", "rejected": "Sand."},):
        reading, records = read(row)
        assert records == []
        assert "whole chat as one text" in reading.refusals[0].message


@pytest.mark.parametrize("text", ["What does [INST] mean?", "Explain ### Instruction: in a prompt.", "Human: who?"])
def test_words_about_a_template_are_text(text: str) -> None:
    reading, records = read({"prompt": text, "chosen": "Oak.", "rejected": "Sand."})
    assert (len(records), reading.refusals) == (1, [])


def test_what_is_not_used_inside_is_named() -> None:
    items = [{"text": "Oak.", "pm_score": 3, "selected": True}, {"text": "Sand.", "pm_score": 0, "selected": False}]
    reading, _ = read({"question": "Q?", "answers": items, "date": "x"})
    assert reading.unused == {"answers[].selected": 1, "date": 1}


def test_an_empty_system_message_says_nothing() -> None:
    _, (record,) = read({"messages": [{"role": "system", "content": ""}, ASKED, OAK]}, kind="demonstrations")
    assert [turn.role for turn in record.prompt.messages] == ["user"]
    _, (record,) = read({"system_prompt": "Be kind.", "question": "Q?", "response": "A"}, kind="demonstrations")
    assert [turn.content for turn in record.prompt.messages] == ["Be kind.", "Q?"]


@pytest.mark.parametrize(
    "begins", [*(kind.begins for kind in serialised.KINDS), *serialised.TEMPLATES], ids=lambda each: each.pattern[:14]
)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_whatever_begins_as_a_chat_is_looked_at(begins: re.Pattern[str], data: st.DataObject) -> None:
    """Texts without any of the marks' words are not: each kind of chat has one of them."""
    assert serialised.is_chat(data.draw(st.from_regex(begins, fullmatch=True)))
