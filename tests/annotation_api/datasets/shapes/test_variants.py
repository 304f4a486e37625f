"""Variants of the public shapes that real files have, beside the cases: other columns, odd first rows, other spellings.

Each was read wrongly, or refused in words that mislead, before it stood here.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from alignment.shared.records import Demonstration, Prompt, Ranking
from tests.annotation_api.datasets.shapes.test_kin import ASKED, FLAT, OAK, SAND, read

Row = dict[str, Any]
ONE = ["Name a tree."]
HH = "\n\nHuman: Name a tree.\n\nAssistant: "
GRADED = [{"response": "Sand.", "overall_score": 2.0}, {"response": "Oak.", "overall_score": 8.5}]
STUDIO = {"prompt": "Name a tree.", "id": 1, "annotator": 7, "annotation_id": 2, "lead_time": 3.1}
ITEMS = [{"id": "i1", "title": "t", "body": "Sand."}, {"id": "i2", "body": "Oak."}]
FIELDS = {"prompt": "Name a tree.", "response-0": "Sand.", "response-1": "Oak."}


def argilla(*, fields: Row = FIELDS, **answers: Any) -> Row:
    given = {name: [{"value": value, "user_id": "u", "status": "submitted"}] for name, value in answers.items()}
    return {"id": "x", "status": "completed", "fields": fields, "responses": given}


def studio(value: Row, **data: str) -> Row:
    return {
        "data": {"prompt": "Name a tree.", **data},
        "annotations": [{"completed_by": 7, "result": [{"value": value}]}],
    }


def batch(**answers: str) -> Row:
    asked = {"Input.prompt": "Name a tree.", "Input.response_a": "Sand.", "Input.response_b": "Oak."}
    return {"HITId": "h", "WorkerId": "w1", "AssignmentStatus": "Approved", **asked, **answers}


RIGHT: dict[str, Row] = {
    "UltraFeedback, a first row without completions": {"instruction": "Name a tree.", "completions": GRADED},
    "UltraFeedback of Argilla, hyphens": {
        "instruction": "Name a tree.", "chosen-response": "Oak.", "rejected-response": "Sand.", "chosen-avg-rating": 4},
    "distilabel's pairs: input for the prompt": {"input": "Name a tree.", "chosen": "Oak.", "rejected": "Sand."},
    "HelpSteer3's edits": {"context": [ASKED], "good_edited_response": "Oak.", "bad_edited_response": "Sand."},
    "PKU-SafeRLHF, one dimension": {
        "prompt": "Name a tree.", "response_0": "Sand.", "response_1": "Oak.", "better_response_id": 1},
    "WebGPT, the question as text": {
        "question": "Name a tree.", "answer_0": "Oak.", "answer_1": "Sand.", "score_0": 1.0, "score_1": -1.0},
    "Stack Exchange, another score": {
        "question": "Name a tree.", "answers": [{"text": "Sand.", "score": 1}, {"text": "Oak.", "score": 7}]},
    "HH in Chinese: context, and objects for sides": {
        "context": [{"text": "Name a tree.", "role": "human"}],
        "chosen": {"text": "Oak.", "role": "assistant"}, "rejected": {"text": "Sand.", "role": "assistant"}},
    "Argilla, a chat for the prompt": argilla(
        fields={"chat": [ASKED], "a": "Sand.", "b": "Oak."}, ranking=["b", "a"]),
    "Argilla, a label that names a field": argilla(preference="response-1"),
    "Argilla, a letter": argilla(
        fields={"instruction": "Name a tree.", "response_a": "Sand.", "response_b": "Oak."}, preference="B"),
    "Argilla, a comment beside the ranking": argilla(ranking=["response-1", "response-0"], comment="fine"),
    "Argilla as columns": {
        **FIELDS, "id": "x", "status": "completed", "ranking.responses": [["response-1", "response-0"]],
        "ranking.responses.users": ["u"], "ranking.responses.status": ["submitted"]},
    "Label Studio, a choice by name": studio({"choices": ["Response 2"]}, answer1="Sand.", answer2="Oak."),
    "Label Studio, other names of the sides": studio({"selected": "left"}, response_a="Oak.", response_b="Sand."),
    "JSON-MIN, a word": STUDIO | {"answer1": "Sand.", "answer2": "Oak.", "comparison": "right"},
    "JSON-MIN, an object": STUDIO | {"answer1": "Sand.", "answer2": "Oak.", "comparison": {"selected": "right"}},
    "JSON-MIN, a list of objects": STUDIO | {"answer1": "Sand.", "answer2": "Oak.", "c": [{"selected": "right"}]},
    "JSON-MIN, a ranker": STUDIO | {"items": ITEMS, "rank": ["i2", "i1"]},
    "JSON-MIN, a ranker with a bucket": STUDIO | {"items": ITEMS, "r": [{"ranker": {"_": [], "rank": ["i2", "i1"]}}]},
    "CSV of a ranker": STUDIO | {"items": json.dumps(ITEMS), "rank": json.dumps([{"ranker": ["i2", "i1"]}])},
    "MTurk": batch(**{"Answer.preference": "B"}),
    "MTurk, checkboxes": batch(**{"Answer.choice.A": "false", "Answer.choice.B": "true"}),
    "MTurk, a classifier": batch(**{"Answer.preference.label": "B"}),
    "MTurk, a crowd-form": batch(**{"Answer.taskAnswers": json.dumps([{"best": {"A": False, "B": True}}])}),
}  # fmt: skip


@pytest.mark.parametrize("row", RIGHT.values(), ids=list(RIGHT))
def test_the_better_one(row: Row) -> None:
    reading, records = read(row)
    assert reading.refusals == []
    ((record),) = records
    assert isinstance(record, Ranking)
    assert [turn.content for turn in record.prompt.messages] == ["Name a tree."]
    assert [[record.responses[i] for i in group] for group in record.groups] == [["Oak."], ["Sand."]]


def test_one_odd_row_does_not_decide_the_layout() -> None:
    reading, records = read({"instruction": "x", "completions": []}, *[RIGHT[next(iter(RIGHT))]] * 2)
    assert (reading.format, len(records)) == ("ultrafeedback", 1)


def test_annotators_and_rejected_assignments() -> None:
    rows = [batch(**{"Answer.preference": "B"}), batch(**{"Answer.preference": "A"}) | {"AssignmentStatus": "Rejected"}]
    reading, records = read(*rows)
    assert [record.annotator for record in records] == ["w1"]
    assert reading.notes == ["assignments that were rejected were left out: 1"]
    assert [record.annotator for record in read(RIGHT["JSON-MIN, a word"])[1]] == ["7"]


def test_two_boxes_are_refused() -> None:
    one, two = ({"Answer.choice.A": first, "Answer.choice.B": "true"} for first in ("false", "true"))
    reading, _ = read(batch(**one), batch(**two))
    assert "two boxes" in reading.refusals[0].message


def test_several_good_or_bad_responses() -> None:
    (record,) = read({"prompt": "Q?", "chosen": ["a"], "rejected": ["b", "c"]})[1]
    assert (record.responses, record.groups) == (("a", "b", "c"), ((0,), (1, 2)))


def test_sides_that_go_on_from_the_prompt() -> None:
    said = [{"role": "assistant", "content": "Which?"}, {"role": "user", "content": "Any."}]
    (record,) = read({"prompt": [ASKED], "chosen": [*said, OAK], "rejected": [*said, SAND]})[1]
    assert [turn.content for turn in record.prompt.messages] == ["Name a tree.", "Which?", "Any."]


def test_rated_responses_of_one_prompt_are_a_ranking() -> None:
    rows = [{"prompt": "Q?", "response": text, "helpfulness": grade} for text, grade in (("a", 1), ("b", 4), ("c", 4))]
    other = {"prompt": "R?", "response": "x", "helpfulness": 0}
    reading, (record,) = read(*rows, other)
    assert (record.responses, record.groups) == (("a", "b", "c"), ((1, 2), (0,)))
    assert [refusal.row for refusal in reading.refusals] == [4]  # one alone compares nothing
    assert len(read(*rows, other, kind="demonstrations")[1]) == 4
    assert [item.responses for item in read(*rows, kind="responses")[1]] == [("a", "b", "c")]


def test_a_text_beside_whole_chats_is_no_prompt_of_theirs() -> None:
    reading, (record,) = read({"context": "A page on trees.", "chosen": [ASKED, OAK], "rejected": [ASKED, SAND]})
    assert (reading.refusals, record.prompt.text) == ([], "Name a tree.")


# a row, and the demonstration that it gives: the turns before, and the response
SHOWN: dict[str, tuple[Row, list[str], str]] = {
    "HelpSteer2's turns in the prompt": (
        {"prompt": "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nName a tree.", "response": "Oak."},
        ["Hi", "Hello", "Name a tree."], "Oak."),
    "weight 0 behind an answer that is learnt": (
        {"messages": [ASKED, OAK, {"role": "user", "content": "More?"}, SAND | {"weight": 0}]}, ONE, "Oak."),
    "Anthropic's red team": ({"transcript": f"{HH}Oak."}, ONE, "Oak."),
    "ShareGPT's items": (
        {"items": [{"from": "human", "value": "Name a tree."}, {"from": "gpt", "value": "Oak."}]}, ONE, "Oak."),
    "another model's name": (
        {"conversations": [{"from": "user", "value": "Name a tree."}, {"from": "bing", "value": "Oak."}]},
        ONE, "Oak."),
    "firefly: input and target": ({"input": "Name a tree.", "target": "Oak."}, ONE, "Oak."),
    "LLaMA-Factory's kto_tag": (
        {"instruction": "Name a tree.", "output": "Oak.", "kto_tag": True}, ONE, "Oak."),
    "a thumb as a word": ({"prompt": "Name a tree.", "completion": "Oak.", "label": "thumbs_up"}, ONE, "Oak."),
    "a label that is no thumb": ({"instruction": "Name a tree.", "output": "Oak.", "label": 3}, ONE, "Oak."),
}  # fmt: skip


@pytest.mark.parametrize(("row", "before", "response"), SHOWN.values(), ids=list(SHOWN))
def test_what_is_learnt(row: Row, before: list[str], response: str) -> None:
    reading, records = read(row, row, kind="demonstrations")  # one object alone could be a wrapping
    assert reading.refusals == []
    ((record),) = records
    assert isinstance(record, Demonstration)
    assert ([turn.content for turn in record.prompt.messages], record.response) == (before, response)


@pytest.mark.parametrize("thumb", [{"kto_tag": False}, {"label": "thumbs_down"}, {"label": -1}])
def test_what_was_disliked_is_not_learnt(thumb: Row) -> None:
    reading, records = read({"prompt": "Q?", "completion": "x", **thumb}, kind="demonstrations")
    assert (records, reading.refusals[0].field) == ([], next(iter(thumb)))


@pytest.mark.parametrize(
    ("row", "kind", "why"),
    [
        ({"text": "<s>[INST] Q? [/INST] x </s>"}, "demonstrations", "a model's own template"),
        ({"chosen": "Human: Q?\nAssistant: x", "rejected": "Human: Q?\nAssistant: y"}, "preferences", "no empty line"),
        ({"prompt": "Q?", "response1": "x", "response2": "y"}, "preferences", "hold no order"),
        (
            {"prompt": "Q?", "chosen": "x", "rejected": "y", "images": ["a.png"]},
            "preferences",
            "the field images changes",
        ),
        ({"prompt": "Q?", "chosen": "x", "rejected": "y", "chosen-rating": 5}, "preferences", "chosen-rating changes"),
    ],
)
def test_what_is_said(row: Row, kind: str, why: str) -> None:
    reading, _ = read(row, kind=kind)
    assert any(why in text for text in [*reading.notes, *(refusal.message for refusal in reading.refusals)])


def test_a_flag_that_is_false_changes_nothing() -> None:
    reading, _ = read({"conversation": [ASKED, OAK], "toxic": False, "redacted": True}, kind="demonstrations")
    assert reading.notes == ["the field redacted changes what a row means, and was not used: 1"]


def test_what_was_deleted_takes_its_answers_along() -> None:
    deleted = [row | {"deleted": True} if row["message_id"] == "c" else row for row in FLAT]
    more = [FLAT[-1] | {"message_id": key, "parent_id": "d", "rank": rank} for key, rank in (("f", 0), ("g", 1))]
    reading, records = read(*deleted[:-1], *more)
    assert records == []
    root = [row | {"deleted": True} if row["parent_id"] is None else row for row in FLAT]
    for kind in ("preferences", "prompts", "demonstrations"):
        reading, records = read(*root, kind=kind)
        assert (records, len(reading.notes)) == ([], 1)


def test_a_system_message_beside_rated_generations() -> None:
    (record,) = read({"system": "Be kind.", "input": "Q?", "generations": ["x", "y"], "rating": [1, 2]})[1]
    assert record.prompt == Prompt.model_validate_json(
        json.dumps({"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Q?"}]})
    )
