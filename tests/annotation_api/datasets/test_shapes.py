"""Shapes of public preference sets, with rows of our own: who wins, how surely, in which layout."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from alignment.shared.records import Demonstration, Prompt, Ranking
from annotation_api.datasets.formats.reading import Reading

ASKED = {"role": "user", "content": "Name a tree."}
OAK, SAND = {"role": "assistant", "content": "Oak."}, {"role": "assistant", "content": "Sand."}


def read(*rows: dict[str, Any], kind: str = "preferences") -> tuple[Reading, list[Any]]:
    reading = Reading(io.BytesIO(b"\n".join(json.dumps(row).encode() for row in rows)), kind)
    return reading, [item.record for item in reading]


PAIR = {"prompt": "Name a tree.", "response_1": "Oak.", "response_2": "Sand."}
RANKED = {"prompt": "\n\nHuman: Name a tree.\n\nAssistant: "}

# a row; its layout; the better response; the strength
SHAPES: dict[str, tuple[dict[str, Any], str, str, int | None]] = {
    "HelpSteer 2, first": (PAIR | {"preference_strength": -3}, "helpsteer", "Oak.", 4),
    "HelpSteer 2, second": (PAIR | {"preference_strength": 1}, "helpsteer", "Sand.", 2),
    "HelpSteer 3": ({"context": [ASKED], "response1": "Oak.", "response2": "Sand.", "overall_preference": -2},
                    "helpsteer3", "Oak.", 3),
    "battle": ({"conversation_a": [ASKED, OAK], "conversation_b": [ASKED, SAND], "winner": "model_a"},
               "battles", "Oak.", None),
    "arena": ({"prompt": '["Name a tree."]', "response_a": '["Oak."]', "response_b": '["Sand."]',
               "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}, "arena", "Sand.", None),
    "SHP": ({"history": "Name a tree.", "human_ref_A": "Oak.", "human_ref_B": "Sand.", "labels": 0},
            "shp", "Sand.", None),
    "WebGPT": ({"question": {"full_text": "Name a tree."}, "answer_0": "Oak.", "answer_1": "Sand.",
                "score_0": 0.25, "score_1": -0.25}, "webgpt", "Oak.", None),
    "StackLLaMA": ({"question": "Name a tree.", "response_j": "Oak.", "response_k": "Sand."}, "stack", "Oak.", None),
    "Stack Exchange": ({"question": "Name a tree.", "answers": [{"text": "Sand.", "pm_score": 0},
                        {"text": "Oak.", "pm_score": 4}]}, "voted", "Oak.", None),
    "Nectar": (RANKED | {"answers": [{"answer": "Sand.", "rank": 7.0}, {"answer": "Oak.", "rank": 1.0}]},
               "nectar", "Oak.", None),
    "UltraFeedback": ({"instruction": "Name a tree.", "completions": [
        {"response": "Sand.", "overall_score": 1}, {"response": "Oak.", "overall_score": 9.5}]},
        "ultrafeedback", "Oak.", None),
    "distilabel": ({"input": "Name a tree.", "generations": ["Oak.", "Sand."], "ratings": [5, 1]},
                   "distilabel", "Oak.", None),
    "OpenAI": ({"input": {"messages": [ASKED]}, "preferred_output": [OAK], "non_preferred_output": [SAND]},
               "openai", "Oak.", None),
    "summaries": ({"info": {"post": "A long post."}, "summaries": [{"text": "Sand."}, {"text": "Oak."}],
                   "choice": 1, "worker": "w1"}, "summaries", "Oak.", None),
    "Label Studio": ({"data": {"prompt": "Name a tree.", "answer1": "Oak.", "answer2": "Sand."}, "annotations": [
        {"completed_by": 3, "result": [{"value": {"selected": "left"}}]}]}, "label_studio", "Oak.", None),
    "Argilla": ({"fields": {"prompt": "Name a tree.", "a": "Oak.", "b": "Sand."}, "responses": {
        "best": [{"value": ["b", "a"], "user_id": "u"}]}}, "argilla", "Sand.", None),
    "whole chats": ({"prompt": "Name a tree.", "chosen": [ASKED, OAK], "rejected": [ASKED, SAND]}, "trl", "Oak.", None),
    "own export": ({"prompt": [ASKED], "chosen": [OAK], "rejected": [SAND], "margin": 0.6666666666666666},
                   "trl", "Oak.", 3),
    "content parts": ({"prompt": [ASKED | {"content": [{"type": "text", "text": "Name a tree."}]}],
                       "chosen": [OAK], "rejected": [SAND]}, "trl", "Oak.", None),
    "HH without blanks": ({"chosen": "Human: Name a tree.\r\n\r\nAssistant: Oak.",
                           "rejected": "Human: Name a tree.\r\n\r\nAssistant: Sand."}, "hh", "Oak.", None),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_who_is_better(name: str) -> None:
    row, layout, better, strength = SHAPES[name]
    reading, records = read(row)
    assert reading.refusals == []
    assert reading.format == layout
    (ranking,) = records
    assert isinstance(ranking, Ranking)
    assert [ranking.responses[i] for i in ranking.groups[0]] == [better]
    assert ranking.strength == strength
    assert "Human:" not in ranking.prompt.text
    prompts, (prompt,) = read(row, kind="prompts")
    assert (prompts.refusals, prompt.messages) == ([], ranking.prompt.messages)


def test_better_and_safer_are_two_judgements() -> None:
    row = {"prompt": "Q?", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1}
    _, records = read(row)
    assert [(r.criterion, r.groups[0]) for r in records] == [("helpful", (0,)), ("harmless", (1,))]


def test_both_bad_is_a_tie_that_says_so() -> None:
    row = {"conversation_a": [ASKED, OAK], "conversation_b": [ASKED, SAND], "winner": "tie (bothbad)"}
    _, (ranking,) = read(row)
    assert (ranking.groups, ranking.all_bad) == (((0, 1),), True)


def test_what_is_not_read_is_named_once_with_its_count() -> None:
    rows = [{"instruction": f"Q{i}?", "output": "a", "source": "x", "empty": None, "score": i} for i in range(1, 4)]
    reading, records = read(*rows, kind="demonstrations")
    assert len(records) == 3
    assert reading.unused == {"source": 3, "score": 3}
    assert reading.notes == ["the field score changes what a row means, and was not used: 3"]


def test_the_same_judgement_in_other_rows_stays_several_votes() -> None:
    pair = {"prompt": "Q?", "chosen": "a", "rejected": "b"}
    reading, records = read(pair | {"id": 1}, pair | {"id": 2}, pair | {"id": 3}, pair | {"id": 3})
    assert [record.annotator for record in records] == [None, "vote 2", "vote 3"]
    assert reading.duplicates == 1
    assert "another vote: 2" in reading.notes[-1]


def test_an_infinite_number_in_an_unread_field_is_no_fault() -> None:
    reading = Reading(io.BytesIO(b'{"prompt": "Q?", "chosen": "a", "rejected": "b", "x": 1e999}'), "preferences")
    assert len(list(reading)) == 1


@pytest.mark.parametrize(
    "text", ["### Human: Name a tree.### Assistant: Oak.", "<|im_start|>user\nName a tree.<|im_end|>\n"
             "<|im_start|>assistant\nOak.<|im_end|>", "\n\nHuman: Name a tree.\n\nAssistant: Oak."],
)  # fmt: skip
def test_a_chat_in_one_text_is_taken_apart(text: str) -> None:
    reading, (record,) = read({"text": text}, kind="demonstrations")
    assert reading.format == "text"
    assert record == Demonstration(prompt=Prompt.from_text("Name a tree."), response="Oak.")


def test_a_chat_in_an_answer_is_refused() -> None:
    row = {"prompt": "Q?", "chosen": "Human: a\n\nAssistant: b", "rejected": "c"}
    reading, records = read(row)
    assert records == []
    assert "a whole chat as one text" in reading.refusals[0].message


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]}, "required"),
        ({"messages": [ASKED, {"role": "tool", "content": "x"}, OAK]}, "no turn before it calls one"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, OAK]}, "only text can be learnt"),
        ({"messages": [ASKED, OAK | {"weight": 2}]}, "must be 0 or 1"),
    ],
)
def test_what_a_chat_cannot_hold_is_refused_by_name(row: dict[str, Any], why: str) -> None:
    reading, records = read(row, kind="demonstrations")
    assert records == []
    assert why in reading.refusals[0].message


NO = {"weight": 0}
MORE = {"role": "user", "content": "More?"}


@pytest.mark.parametrize(
    ("row", "places"),
    [
        ({"messages": [ASKED, OAK | NO, MORE, SAND]}, (1,)),
        ({"messages": [ASKED, OAK | NO, MORE, SAND], "system": "Be brief."}, (2,)),
        ({"messages": [{"role": "system", "content": ""}, ASKED, OAK | NO, MORE, SAND]}, (1,)),
        ({"messages": [ASKED | NO, OAK | {"weight": 1}, MORE, SAND]}, ()),
        ({"messages": [ASKED, OAK | NO, MORE, SAND, MORE, OAK | NO]}, (1,)),
        ({"prompt": [ASKED, OAK | NO, MORE], "completion": [SAND]}, (1,)),
        ({"prompt": [ASKED, OAK | NO, MORE], "completion": [SAND | NO]}, None),
    ],
)
def test_answers_with_weight_0_are_marked_wherever_they_stand(row: dict[str, Any], places: tuple[int, ...]) -> None:
    reading, records = read(row, row, kind="demonstrations")
    assert reading.refusals == []
    assert [record.not_learnt for record in records] == ([] if places is None else [places])
    assert not any("weight" in name for name in reading.unused)


def test_rows_that_are_left_out_are_counted() -> None:
    rows = [{"messages": [ASKED, OAK | {"weight": 0}]}, {"messages": [ASKED, SAND | {"weight": 1}]}]
    reading, records = read(*rows, kind="demonstrations")
    assert [record.response for record in records] == ["Sand."]
    assert reading.notes == ["chats in which no answer is to be learnt (weight 0) were left out: 1"]
    reading, records = read({"prompt": "Q?", "response": "x", "is_safe": False}, kind="demonstrations")
    assert (records, reading.notes) == ([], ["responses that were judged unsafe were left out: 1"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[{"role":' + "[" * 100_000, "is nested deeper than 200 levels"),
        ('[{"role": "user", "content": "\\ud83d"}]', "a lone surrogate"),
        ('[{"role": "user", "content": "a\\u0000b"}]', "a NUL character"),
        ('[{"role":' + "9" * 5000 + "}]", "is no JSON"),
    ],
)
def test_json_inside_a_text_is_checked_as_the_file_is(text: str, why: str) -> None:
    reading, records = read({"text": text}, kind="demonstrations")
    assert records == []
    assert why in reading.refusals[0].message


def test_text_in_parquet_is_checked_as_in_json() -> None:
    file = io.BytesIO()
    table = pyarrow.table({"instruction": ["a", "b"], "output": ["x\0y", "z"]})
    pyarrow.parquet.write_table(table, file)
    reading = Reading(io.BytesIO(file.getvalue()), "demonstrations")
    assert len(list(reading)) == 1
    assert "a NUL character" in reading.refusals[0].message


def test_a_task_that_nobody_judged_is_refused() -> None:
    reading, _ = read({"data": {"prompt": "Q?", "answer1": "a", "answer2": "b"}, "annotations": []})
    assert "nobody has judged" in reading.refusals[0].message


def test_ranks_with_names() -> None:
    value = [{"value": "a", "rank": 2}, {"value": "b", "rank": 1}]
    row = {"fields": {"prompt": "Q?", "a": "x", "b": "y"}, "responses": {"q": [{"value": value, "user_id": "u"}]}}
    _, (ranking,) = read(row)
    assert ranking.responses == ("y", "x")


def test_unranked_responses_are_no_order() -> None:
    reading, _ = read({"prompt": "Q?", "responses": ["a", "b"]})
    assert "hold no order" in reading.refusals[0].message
