"""Shapes that people bring from newer tools and sets: read as they are meant, or refused by what they are.

Each was read wrongly in silence, or refused in words that mislead, before it stood here.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.annotation_api.datasets.shapes.test_kin import ASKED, OAK, SAND, read

Row = dict[str, Any]
AGAIN = [{"role": "user", "content": "Another?"}, {"role": "assistant", "content": "Elm."}]
SIDES = {"prompt": "Name a tree.", "response_a": "Sand.", "response_b": "Oak."}
OPTIONS = [{"id": "a", "text": "Sand."}, {"id": "b", "text": "Oak."}]
THOUGHT = {"text": "Hm.", "thought": True}
ASKS = {"role": "user", "parts": [{"text": "Name a tree."}]}

# a row, and which response is better
PAIRS: dict[str, Row] = {
    "names of columns": SIDES | {"chosen": "response_b", "rejected": "response_a"},
    "letters": SIDES | {"chosen": "B", "rejected": "A"},
    "models": SIDES | {"model_a": "x", "model_b": "y", "chosen": "y", "rejected": "x"},
    "numbers of columns": {"prompt": "Name a tree.", "response_1": "Sand.", "response_2": "Oak.",
                           "chosen": 2, "rejected": 1},
    "names of plain columns": {"prompt": "Name a tree.", "a": "Sand.", "b": "Oak.", "chosen": "b", "rejected": "a"},
    "Prodigy's choice": {"text": "Name a tree.", "options": OPTIONS, "accept": ["b"], "answer": "accept"},
    "Prodigy's choice, a prompt": {"prompt": "Name a tree.", "options": OPTIONS, "accept": ["b"], "answer": "accept"},
    "MT-bench, the first turn": {"turn": 1, "winner": "model_a", "judge": "x",
        "conversation_a": [ASKED, OAK, *AGAIN], "conversation_b": [ASKED, SAND, *AGAIN]},
    "Search Arena": {"winner": "model_b", "messages_a": [ASKED, SAND], "messages_b": [ASKED, OAK], "turn": 1},
    "Align-Anything": {"prompt": "Name a tree.", "response_1": "Sand.", "response_2": "Oak.", "overall_response": 2},
    "a page of a viewer": {"row_idx": 0, "truncated_cells": [],
                           "row": {"prompt": "Name a tree.", "chosen": "Oak.", "rejected": "Sand."}},
}  # fmt: skip


@pytest.mark.parametrize("row", PAIRS.values(), ids=list(PAIRS))
def test_the_better_one(row: Row) -> None:
    reading, records = read(row)
    assert reading.refusals == []
    (record,) = records
    assert record.prompt.text == "Name a tree."
    assert [[record.responses[i] for i in group] for group in record.groups] == [["Oak."], ["Sand."]]


CHATS: dict[str, Row] = {
    "OpenAI's evals": {"input": [ASKED], "ideal": "Oak."},
    "OpenAI's Responses": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Name a tree."}]}],
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Oak."}]}]},
    "OpenAI's Responses, a text": {"input": "Name a tree.",
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Oak."}]}]},
    "a call and its answer": {"request": {"model": "m", "messages": [ASKED]}, "response": {"choices": [
        {"index": 0, "message": OAK}]}},
    "a batch": {"custom_id": "1", "body": {"model": "m", "messages": [ASKED, OAK]}},
    "Gemini": {"contents": [ASKS, {"role": "model", "parts": [{"text": "Oak."}]}]},
    "LIMA": {"conversations": ["Name a tree.", "Oak."], "source": "x"},
    "UltraChat": {"id": "1", "data": ["Name a tree.", "Oak."]},
    "Capybara": {"conversation": [{"input": "Name a tree.", "output": "Oak."}]},
    "COIG": {"conversations": [{"question": "Name a tree.", "answer": "Oak."}], "background": ""},
    "PaLM": {"messages": [{"author": "user", "content": "Name a tree."}, {"author": "bot", "content": "Oak."}]},
}  # fmt: skip


@pytest.mark.parametrize("row", CHATS.values(), ids=list(CHATS))
def test_the_chat_that_it_is(row: Row) -> None:
    reading, records = read(row, kind="demonstrations")
    assert reading.refusals == []
    assert [(record.prompt.text, record.response) for record in records] == [("Name a tree.", "Oak.")]


def test_texts_in_turn_are_noted() -> None:
    assert any("in turn" in note for note in read(CHATS["LIMA"], kind="demonstrations")[0].notes)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASKED, OAK | {"reasoning_content": "Hm."}]},
        {"messages": [ASKED, OAK | {"thinking": "Hm."}]},
        {"contents": [ASKS, {"role": "model", "parts": [THOUGHT, {"text": "Oak."}]}]},
        CHATS["OpenAI's Responses"]
        | {"output": [{"type": "reasoning", "summary": []}, *CHATS["OpenAI's Responses"]["output"]]},
    ],
)
def test_what_a_model_thought_is_no_answer_and_is_named(row: Row) -> None:
    reading, (record,) = read(row, kind="demonstrations")
    assert record.response == "Oak."
    assert any("thinking" in note or "reasoning_content" in note for note in reading.notes)


STEPS = {"prompt": "Which is larger?", "completions": ["First.", "So 9.8."], "labels": [True, False]}
PRM = {"question": {"problem": "Name a tree."}, "label": {"steps": [{"completions": [{"text": "a", "rating": 1}]}]}}
COMPARED = {"answer": "accept", "A": {"text": "Oak."}, "B": {"text": "Sand."}}
RESULTS = [{"type": "pairwise", "value": {"selected": "left"}}, {"type": "textarea", "value": {"text": ["Because."]}}]
STUDIO = {
    "data": {"prompt": "Name a tree.", "answer1": "Oak.", "answer2": "Sand."},
    "annotations": [{"result": RESULTS}],
}
REFUSED: list[tuple[Row, str, str]] = [
    (STEPS, "preferences", "judged one by one"),
    (STEPS, "responses", "judged one by one"),
    (PRM, "demonstrations", "judged one by one"),
    (COMPARED | {"input": {"text": "Name a tree."}}, "preferences", "not which text won"),
    (COMPARED | {"prompt": "Name a tree."}, "demonstrations", "holds a comparison"),
    ({"prompt": "Q", "options": OPTIONS, "accept": ["b"], "answer": "accept"}, "demonstrations", "holds a comparison"),
    ({"prompt": "Q", "options": OPTIONS, "accept": ["a", "b"], "answer": "accept"}, "preferences", "not all"),
    (STUDIO, "demonstrations", "holds a comparison"),
    ({"input": "Q", "output_1": "a", "output_2": "b", "label": 1}, "preferences", "count from 0 or from 1"),
    ({"prompt": "Q", "responses": ["a", "b"], "chosen": "0", "rejected": "1"}, "preferences", "count from 0 or from 1"),
    ({"messages": [ASKED, {"role": "assistant", "content": [{"type": "reasoning", "text": "Hm."}]}]},
     "demonstrations", "is no text"),
    ({"prompt": {"raw": "Q"}, "vars": {}, "response": {"output": "Oak."}}, "demonstrations", "must be text"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "kind", "why"), REFUSED)
def test_refused_by_what_it_is(row: Row, kind: str, why: str) -> None:
    reading, records = read(row, kind=kind)
    assert records == []
    assert why in reading.refusals[0].message


def test_cells_that_a_viewer_cut_are_no_texts() -> None:
    row = PAIRS["a page of a viewer"]
    reading, records = read(row, row | {"row_idx": 1, "truncated_cells": ["chosen"]})
    assert len(records) == 1
    assert "cut these cells" in reading.refusals[0].message


def test_the_prompts_of_steps_are_read() -> None:
    assert [read(row, kind="prompts")[1][0].text for row in (STEPS, PRM)] == ["Which is larger?", "Name a tree."]


def test_numbers_among_the_responses_are_texts() -> None:
    _, (record,) = read({"prompt": "2 + 2?", "responses": ["3", "4"], "chosen": "4", "rejected": "3"})
    assert record.responses == ("4", "3")


def test_several_answers_of_a_call_are_to_be_ranked() -> None:
    row = {"request": {"messages": [ASKED]}, "response": {"choices": [{"message": OAK}, {"message": SAND}]}}
    _, (record,) = read(row, kind="responses")
    assert record.responses == ("Oak.", "Sand.")


def test_a_first_turn_may_be_an_object() -> None:
    assert read({"turns": [{"content": "Name a tree."}]}, kind="prompts")[1][0].text == "Name a tree."
