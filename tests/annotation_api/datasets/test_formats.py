"""Each layout becomes the right records: small rows written here, expected records worked by hand."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from alignment.shared.records import Demonstration, Prompt, Ranking, Record
from annotation_api.datasets.formats.reading import Reading

TREE = {
    "message_tree_id": "t",
    "prompt": {
        "text": "Name a bird.",
        "role": "prompter",
        "lang": "en",
        "replies": [
            {"text": "Fish", "role": "assistant", "lang": "en", "rank": 1, "replies": []},
            {
                "text": "Owl",
                "role": "assistant",
                "lang": "en",
                "rank": 0,
                "replies": [
                    {
                        "text": "And a fish?",
                        "role": "prompter",
                        "rank": None,
                        "replies": [
                            {"text": "Carp", "role": "assistant", "rank": 0, "replies": []},
                            {"text": "Owl", "role": "assistant", "rank": 2, "replies": []},
                            {"text": "Cod", "role": "assistant", "rank": 1, "replies": []},
                        ],
                    }
                ],
            },
        ],
    },
}


def read(rows: list[Any], kind: str, format: str = "auto") -> tuple[list[Record], Reading]:
    data = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    reading = Reading(io.BytesIO(data.encode()), kind, format)
    return [item.record for item in reading], reading


def one(row: Any, kind: str, format: str = "auto") -> Any:
    records, reading = read([row], kind, format)
    assert reading.refusals == []
    assert len(records) == 1
    return records[0]


def refusal(row: Any, kind: str, format: str = "auto") -> tuple[int, str, str]:
    records, reading = read([row], kind, format)
    assert records == []
    assert len(reading.refusals) == 1
    found = reading.refusals[0]
    return found.row, found.field, found.message


def turns(prompt: Prompt) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in prompt.messages]


# ---------------------------------------------------------------- demonstrations


@pytest.mark.parametrize(
    ("row", "asked", "answer"),
    [
        ({"instruction": "Add", "input": "1 2", "output": "3"}, "Add\n\n1 2", "3"),
        ({"instruction": "Add", "input": "", "output": "3"}, "Add", "3"),
        ({"instruction": "Add", "input": "Noinput", "output": "3"}, "Add", "3"),
        ({"instruction": "Add", "input": "<no input>", "output": "3"}, "Add", "3"),
        ({"instruction": "Add", "context": "1 2", "response": "3", "category": "qa"}, "Add\n\n1 2", "3"),
        ({"question": "1 + 2?", "answer": "#### 3"}, "1 + 2?", "#### 3"),
        ({"prompt": "1 + 2?", "completion": "3"}, "1 + 2?", "3"),
        ({"question": "1 + 2?", "std_answer": "3", "class": "math"}, "1 + 2?", "3"),
    ],
)
def test_alpaca_rows_join_instruction_and_input(row: dict[str, str], asked: str, answer: str) -> None:
    record = one(row, "demonstrations")
    assert (turns(record.prompt), record.response) == ([("user", asked)], answer)


def test_alpaca_history_and_system_come_before_the_instruction() -> None:
    row = {"instruction": "And 3?", "input": "", "output": "6", "system": "Be brief.", "history": [["1 + 2?", "3"]]}
    asked = [("system", "Be brief."), ("user", "1 + 2?"), ("assistant", "3"), ("user", "And 3?")]
    assert turns(one(row, "demonstrations").prompt) == asked


SHAREGPT = {
    "conversations": [
        {"from": "system", "value": "Be kind."},
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello"},
        {"from": "human", "value": "Bye"},
        {"from": "gpt", "value": "See you"},
    ]
}
MESSAGES = {
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "See you"},
    ]
}


@pytest.mark.parametrize("kind", ["demonstrations", "conversations"])
@pytest.mark.parametrize("row", [SHAREGPT, MESSAGES])
def test_a_chat_teaches_its_last_assistant_turn(row: dict[str, Any], kind: str) -> None:
    record = one(row, kind)
    assert record.response == "See you"
    assert turns(record.prompt) == [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]


def test_a_chat_that_ends_with_the_human_has_nothing_to_teach() -> None:
    row = {"conversations": SHAREGPT["conversations"][:4]}
    assert refusal(row, "conversations")[:2] == (1, "conversations[3]")
    assert turns(one(row, "prompts"))[-1] == ("user", "Bye")


def test_a_thumb_up_is_a_demonstration_and_a_thumb_down_is_not() -> None:
    assert one({**MESSAGES, "label": True}, "demonstrations").response == "See you"
    assert one({"prompt": "Hi", "completion": "Yo", "label": True}, "demonstrations").response == "Yo"
    assert refusal({**MESSAGES, "label": False}, "demonstrations")[1] == "label"
    assert "compares nothing" in refusal({**MESSAGES, "label": True}, "preferences")[2]


def test_seed_tasks_give_one_record_for_each_case() -> None:
    row = {
        "instruction": "Double it.",
        "instances": [{"input": "1", "output": "2"}, {"input": "2", "output": "4"}],
    }
    records, reading = read([row], "demonstrations")
    assert [(r.prompt.text, r.response) for r in records] == [("Double it.\n\n1", "2"), ("Double it.\n\n2", "4")]
    assert reading.accepted == 2


# ---------------------------------------------------------------- pairs


def test_hh_dialogues_share_all_but_the_last_answer() -> None:
    shared = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Help me"
    record = one(
        {"chosen": f"{shared}\n\nAssistant: Gladly.", "rejected": f"{shared}\n\nAssistant: No."}, "preferences"
    )
    assert turns(record.prompt) == [("user", "Hi"), ("assistant", "Hello"), ("user", "Help me")]
    assert record.responses == ("Gladly.", "No.")
    assert record.groups == ((0,), (1,))


@pytest.mark.parametrize(
    ("chosen", "rejected", "field", "why"),
    [
        ("\n\nHuman: A\n\nAssistant: x", "\n\nHuman: B\n\nAssistant: y", "rejected", "before the last answer"),
        (
            "\n\nHuman: A\n\nAssistant: x\n\nHuman: B\n\nAssistant: y",
            "\n\nHuman: A\n\nAssistant: z",
            "rejected",
            "before the last answer",
        ),
        ("\n\nHuman: A\n\nAssistant:", "\n\nHuman: A\n\nAssistant: y", "chosen", "empty"),
        ("\n\nHuman: A", "\n\nHuman: A\n\nAssistant: y", "chosen", "must end with the assistant"),
    ],
)
def test_hh_pairs_that_cannot_be_used_are_refused(chosen: str, rejected: str, field: str, why: str) -> None:
    row, where, message = refusal({"chosen": chosen, "rejected": rejected}, "preferences")
    assert (row, where) == (1, field)
    assert why in message


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q?", "chosen": "good", "rejected": "bad"},
        {"question": "Q?", "chosen": "good", "rejected": "bad"},
        {"instruction": "Q?", "input": "", "output": "bad", "chosen": "good", "rejected": "bad"},
        {"conversations": [{"from": "human", "value": "Q?"}], "chosen": "good", "rejected": "bad"},
        {
            "conversations": [{"from": "human", "value": "Q?"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        {
            "prompt": [{"role": "user", "content": "Q?"}],
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
        },
        {
            "chosen": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "good"}],
            "rejected": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "bad"}],
        },
    ],
)
@pytest.mark.parametrize("kind", ["preferences", "rankings"])
def test_chosen_and_rejected_in_every_dress(row: dict[str, Any], kind: str) -> None:
    record = one(row, kind)
    assert isinstance(record, Ranking)
    assert (record.prompt.text, record.responses, record.groups) == ("Q?", ("good", "bad"), ((0,), (1,)))


def test_instruction_and_input_are_the_prompt_of_a_pair() -> None:
    row = {"instruction": "Fix it.", "input": "freind", "output": "x", "chosen": "friend", "rejected": "fool"}
    assert one(row, "preferences").prompt.text == "Fix it.\n\nfreind"


def test_identical_sides_are_a_tie_and_are_told() -> None:
    records, reading = read([{"prompt": "Q?", "chosen": "same", "rejected": "same"}], "preferences")
    assert isinstance(records[0], Ranking)
    assert records[0].groups == ((0, 1),)
    assert any("identical" in note for note in reading.notes)


@pytest.mark.parametrize(("grade", "groups"), [(1.2, ((0,), (1,))), (1.5, ((0, 1),)), (1.9, ((1,), (0,)))])
def test_alpaca_eval_grades_run_from_one_to_two(grade: float, groups: tuple[tuple[int, ...], ...]) -> None:
    row = {"instruction": "Q?", "output_1": "a", "output_2": "b", "preference": grade, "annotator": "judge"}
    record = one(row, "rankings")
    assert (record.responses, record.groups, record.annotator) == (("a", "b"), groups, "judge")


@pytest.mark.parametrize("grade", [0.5, 2.5, None, "x", True, float("1e999")])
def test_an_alpaca_eval_grade_outside_is_refused(grade: object) -> None:
    row = {"instruction": "Q?", "output_1": "a", "output_2": "b", "preference": grade}
    text = json.dumps(row)
    assert read([text], "rankings", "alpaca_eval")[1].refusals[0].row == 1


def test_pandalm_votes_are_three_rankings() -> None:
    row = {
        "instruction": "Q?", "input": "", "response1": "a", "response2": "b",
        "annotator1": 1, "annotator2": 2, "annotator3": 0,
    }  # fmt: skip
    records, _ = read([row], "rankings")
    groups = [(r.annotator, r.groups) for r in records if isinstance(r, Ranking)]
    assert groups == [("annotator1", ((0,), (1,))), ("annotator2", ((1,), (0,))), ("annotator3", ((0, 1),))]


def test_tulu_steps_keep_their_strength() -> None:
    row = {"prompt": "Q?", "completion_a": "a", "completion_b": "b", "preference": "b-is-slightly-better"}
    record = one({**row, "evaluator": "yo"}, "preferences")
    assert (record.groups, record.strength, record.annotator) == (((1,), (0,)), 2, "yo")
    assert one({**row, "preference": "tie"}, "preferences").groups == ((0, 1),)


# ---------------------------------------------------------------- ranked lists


def test_gpt4llm_scores_become_ranks_with_ties() -> None:
    items = [{"response": r, "source": r, "score": s} for r, s in (("a", 0.5), ("b", 0.9), ("c", 0.5), ("d", 0.1))]
    record = one({"user_input": "Q?", "responses_and_scores": items}, "rankings")
    assert record.groups == ((1,), (0, 2), (3,))


def test_a_list_of_outputs_is_best_first_with_history() -> None:
    row = {"instruction": "And?", "input": "", "output": ["a", "b", "c"], "history": [["Hi", "Hello"]]}
    record = one(row, "rankings")
    assert record.groups == ((0,), (1,), (2,))
    assert turns(record.prompt) == [("user", "Hi"), ("assistant", "Hello"), ("user", "And?")]


def test_an_answer_that_stands_twice_is_a_tie_only_next_to_itself() -> None:
    row = {"instruction": "Q?", "input": "", "output": ["a", "b", "b"], "history": []}
    assert one(row, "rankings").groups == ((0,), (1, 2))
    assert "identical" in refusal({**row, "output": ["b", "a", "b"]}, "rankings")[2]


def test_a_tree_gives_one_ranking_for_each_fully_ranked_group() -> None:
    reading = Reading(io.BytesIO(json.dumps(TREE).encode()), "rankings")
    found = list(reading)
    assert [(item.row, item.part) for item in found] == [(1, 0), (1, 1)]
    first, second = (item.record for item in found)
    assert isinstance(first, Ranking)
    assert isinstance(second, Ranking)
    assert (first.responses, first.groups, first.prompt.language) == (("Fish", "Owl"), ((1,), (0,)), "en")
    assert second.groups == ((0,), (2,), (1,))
    assert turns(second.prompt) == [("user", "Name a bird."), ("assistant", "Owl"), ("user", "And a fish?")]


def test_a_group_that_is_ranked_in_part_is_left_out_and_told() -> None:
    tree = json.loads(json.dumps(TREE))
    tree["prompt"]["replies"][0]["rank"] = None
    records, reading = read([tree], "rankings")
    assert len(records) == 1
    assert reading.notes == ["groups of answers that were ranked only in part were left out: 1"]


def test_a_tree_without_a_ranked_group_is_refused() -> None:
    tree = {"prompt": {"text": "Q?", "role": "prompter", "replies": [{"text": "a", "role": "assistant", "rank": 0}]}}
    assert refusal(tree, "rankings")[1] == "prompt.replies"


def test_a_tree_as_conversation_follows_the_best_replies() -> None:
    record = one(TREE, "conversations")
    assert (record.response, turns(record.prompt)[-1]) == ("Carp", ("user", "And a fish?"))


def test_llmzoo_orders_share_ranks() -> None:
    row = {
        "metadata": {"question": "Q?", "answers": ["a", "b", "c"], "model_ids": ["x", "y", "z"]},
        "order": [2, 1, 2], "lang": "zh", "reviewer_id": "judge",
    }  # fmt: skip
    record = one(row, "rankings")
    assert (record.groups, record.prompt.language, record.annotator) == (((1,), (0, 2)), "zh", "judge")
    assert refusal({**row, "order": [1, 2]}, "rankings")[1] == "order"


def test_right_solutions_stand_above_wrong_ones() -> None:
    row = {"question": "Q?", "ground_truth": "1"} | {
        name: {"is_correct": right, "solution": name} for name, right in (("a", False), ("b", True), ("c", True))
    }
    assert one(row, "rankings").groups == ((1, 2), (0,))


# ---------------------------------------------------------------- prompts and our own records


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"turns": ["First?", "Second?"], "question_id": 1}, "First?"),
        ({"instruction": "Q?", "input": "", "output": "a"}, "Q?"),
        ({"user_input": "Q?", "responses_and_scores": []}, "Q?"),
        ({"metadata": {"question": "Q?"}, "order": []}, "Q?"),
        ({"chosen": "\n\nHuman: Q?\n\nAssistant: a", "rejected": "\n\nHuman: Q?\n\nAssistant: b"}, "Q?"),
        (TREE, "Name a bird."),
        ({"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "a"}]}, "Q?"),
        ({"messages": [{"role": "user", "content": "Q?"}]}, "Q?"),
        ({"prompt": "Q?"}, "Q?"),
    ],
)
def test_every_layout_has_prompts(row: dict[str, Any], asked: str) -> None:
    assert one(row, "prompts").text == asked


RECORDS = [
    ("demonstrations", Demonstration(prompt=Prompt.from_text("Q?", criterion="honest"), response="a")),
    ("rankings", Ranking(prompt=Prompt.from_text("问？", language="zh"), responses=("a", "b"), groups=((1,), (0,)))),
    ("prompts", Prompt.from_text("Q?", language="en")),
]


@pytest.mark.parametrize(("kind", "record"), RECORDS)
@pytest.mark.parametrize("format", ["auto", "jsonl"])
def test_our_own_records_come_back_as_they_were(kind: str, record: Record, format: str) -> None:
    assert one(record.canonical(), kind, format) == record


def test_an_unknown_key_of_our_own_names_the_near_miss() -> None:
    row = {"prompt": {"messages": [{"role": "user", "content": "Q?"}]}, "responses": ["a", "b"], "group": [[0], [1]]}
    message = refusal(row, "rankings", "jsonl")[2]
    assert "groups" in message


# ---------------------------------------------------------------- wrong kinds


@pytest.mark.parametrize(
    ("row", "kind", "advice"),
    [
        ({"instruction": "Q?", "output": "a"}, "preferences", " as demonstrations"),
        ({"prompt": "Q?", "chosen": "a", "rejected": "b"}, "demonstrations", " as preferences"),
        (SHAREGPT, "rankings", " as conversations"),
        ({"turns": ["Q?"]}, "demonstrations", " as prompts"),
        ({"instruction": "Q?", "output": ["a", "b"]}, "demonstrations", " as rankings"),
    ],
)
def test_a_row_of_another_kind_says_which_kind_it_is(row: dict[str, Any], kind: str, advice: str) -> None:
    assert advice in refusal(row, kind)[2]


# ---------------------------------------------------------------- wrong values never end in a traceback

BROKEN_VALUES: list[Any] = [None, "", "  ", 0, -1, 1.5, True, [], {}, [[]], [None], {"from": []}, "x" * 10, [1, 2]]
WHOLE_ROWS: list[tuple[str, str, dict[str, Any]]] = [
    ("alpaca", "demonstrations", {"instruction": "Q?", "input": "x", "output": "a", "history": [["a", "b"]]}),
    ("sharegpt", "conversations", SHAREGPT),
    ("sharegpt", "preferences", {**SHAREGPT, "chosen": "a", "rejected": "b"}),
    ("hh", "preferences", {"chosen": "\n\nHuman: Q\n\nAssistant: a", "rejected": "\n\nHuman: Q\n\nAssistant: b"}),
    ("trl", "preferences", {"prompt": "Q?", "chosen": "a", "rejected": "b"}),
    ("kto", "demonstrations", {**MESSAGES, "label": True}),
    ("oasst", "rankings", TREE),
    ("oasst", "conversations", TREE),
    ("oasst", "rankings", {"instruction": "Q?", "output": ["a", "b"], "history": []}),
    ("gpt4llm", "rankings", {"user_input": "Q?", "responses_and_scores": [{"response": "a", "score": 1}] * 2}),
    ("alpaca_eval", "rankings", {"instruction": "Q?", "output_1": "a", "output_2": "b", "preference": 1.2}),
    ("llmzoo", "rankings", {"metadata": {"question": "Q?", "answers": ["a", "b"]}, "order": [1, 2]}),
    ("pandalm", "rankings", {"instruction": "Q?", "response1": "a", "response2": "b", "annotator1": 1}),
    ("tulu", "rankings", {"prompt": "Q?", "completion_a": "a", "completion_b": "b", "preference": "tie"}),
    ("graded", "rankings", {"question": "Q?", "x": {"is_correct": True, "solution": "a"}}),
    ("questions", "demonstrations", {"instruction": "Q?", "instances": [{"input": "a", "output": "b"}]}),
    ("questions", "prompts", {"turns": ["a"]}),
    ("jsonl", "rankings", json.loads(RECORDS[1][1].canonical())),
]


def _spoiled(value: Any) -> list[Any]:
    """Copies of a JSON value in each of which one inner value is replaced or missing."""
    if isinstance(value, dict):
        copies: list[Any] = [{k: v for k, v in value.items() if k != name} for name in value]
        for name, inner in value.items():
            copies += [{**value, name: bad} for bad in (*BROKEN_VALUES, *_spoiled(inner))]
        return copies
    if isinstance(value, list):
        return [
            [*value[:i], bad, *value[i + 1 :]]
            for i in range(len(value))
            for bad in (*BROKEN_VALUES, *_spoiled(value[i]))
        ]
    return []


@pytest.mark.parametrize(("format", "kind", "row"), WHOLE_ROWS)
def test_every_spoiled_value_is_taken_or_refused_with_a_reason(format: str, kind: str, row: dict[str, Any]) -> None:
    spoiled = _spoiled(row)
    assert len(spoiled) > 20
    for bad in spoiled:
        records, reading = read([bad], kind, format)
        assert reading.refusals or records
        assert all(refused.row == 1 and len(refused.message) > 5 for refused in reading.refusals), bad


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Name a bird.", "completion": "Owl"},
        {
            "prompt": [{"role": "user", "content": "Name a bird."}],
            "completion": [{"role": "assistant", "content": "Owl"}],
        },
        {"messages": [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "Owl"}]},
    ],
)
def test_trl_by_name_is_what_its_sft_trainer_takes_too(row: Any) -> None:
    for kind, wanted in (
        ("demonstrations", Demonstration(prompt=Prompt.from_text("Name a bird."), response="Owl")),
        ("prompts", Prompt.from_text("Name a bird.")),
    ):
        records, reading = read([row], kind, "trl")
        assert records == [wanted], reading.report
