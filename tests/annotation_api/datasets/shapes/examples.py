"""A short row of every layout, for the table in docs/data.md: what it is imported as, and the row itself."""

from __future__ import annotations

from typing import Any

ASKED = {"role": "user", "content": "A tree?"}
OAK, SAND = {"role": "assistant", "content": "Oak."}, {"role": "assistant", "content": "Sand."}
DIALOGUE = "\n\nHuman: A tree?\n\nAssistant:"
PAIR = {"prompt": "A tree?", "response_1": "Oak.", "response_2": "Sand."}

EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "alpaca": ("demonstrations", {"instruction": "A tree?", "input": "", "output": "Oak."}),
    "sharegpt": ("demonstrations", {"messages": [ASKED, OAK]}),
    "text": ("demonstrations", {"text": "### Human: A tree?### Assistant: Oak."}),
    "questions": ("prompts", {"question_id": 81, "category": "writing", "turns": ["A tree?", "Another one?"]}),
    "responses": ("responses", {"prompt": "A tree?", "responses": ["Oak.", "Sand."]}),
    "trl": ("preferences", {"prompt": "A tree?", "chosen": "Oak.", "rejected": "Sand."}),
    "hh": ("preferences", {"chosen": f"{DIALOGUE} Oak.", "rejected": f"{DIALOGUE} Sand."}),
    "beside": ("preferences", {"messages": [ASKED, OAK], "rejected_response": "Sand."}),
    "kto": ("demonstrations", {"prompt": "A tree?", "completion": "Oak.", "label": True}),
    "oasst": ("preferences", {"instruction": "A tree?", "output": ["Oak.", "Sand."]}),
    "gpt4llm": (
        "preferences",
        {
            "user_input": "A tree?",
            "responses_and_scores": [{"response": "Oak.", "score": 9}, {"response": "Sand.", "score": 1}],
        },
    ),
    "alpaca_eval": (
        "preferences",
        {"instruction": "A tree?", "output_1": "Oak.", "output_2": "Sand.", "preference": 1},
    ),
    "llmzoo": (
        "preferences",
        {"metadata": {"question": "A tree?", "answers": ["Oak.", "Sand."], "model_ids": ["x", "y"]}, "order": [1, 2]},
    ),
    "pandalm": (
        "preferences",
        {
            "instruction": "A tree?",
            "response1": "Oak.",
            "response2": "Sand.",
            "annotator1": 1,
            "annotator2": 1,
            "annotator3": 2,
        },
    ),
    "tulu": (
        "preferences",
        {"prompt": "A tree?", "completion_a": "Oak.", "completion_b": "Sand.", "preference": "a-is-better"},
    ),
    "graded": (
        "preferences",
        {
            "question": "A tree?",
            "x": {"is_correct": True, "solution": "Oak."},
            "y": {"is_correct": False, "solution": "Sand."},
        },
    ),
    "helpsteer": ("preferences", PAIR | {"preference_strength": -3}),
    "helpsteer3": (
        "preferences",
        {"context": [ASKED], "response1": "Oak.", "response2": "Sand.", "overall_preference": -2},
    ),
    "battles": (
        "preferences",
        {"conversation_a": [ASKED, OAK], "conversation_b": [ASKED, SAND], "winner": "model_a"},
    ),
    "arena": (
        "preferences",
        {
            "prompt": '["A tree?"]',
            "response_a": '["Oak."]',
            "response_b": '["Sand."]',
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
    ),
    "sides": ("preferences", {"prompt": "A tree?", "response_a": "Oak.", "response_b": "Sand.", "winner": "a"}),
    "shp": ("preferences", {"history": "A tree?", "human_ref_A": "Oak.", "human_ref_B": "Sand.", "labels": 1}),
    "webgpt": (
        "preferences",
        {
            "question": {"full_text": "A tree?"},
            "answer_0": "Oak.",
            "answer_1": "Sand.",
            "score_0": 0.25,
            "score_1": -0.25,
        },
    ),
    "stack": ("preferences", {"question": "A tree?", "response_j": "Oak.", "response_k": "Sand."}),
    "voted": (
        "preferences",
        {"question": "A tree?", "answers": [{"text": "Sand.", "pm_score": 0}, {"text": "Oak.", "pm_score": 4}]},
    ),
    "safe": (
        "preferences",
        {
            "prompt": "A tree?",
            "response_0": "Oak.",
            "response_1": "Sand.",
            "better_response_id": 0,
            "safer_response_id": 1,
        },
    ),
    "summaries": (
        "preferences",
        {"info": {"post": "A tree?"}, "summaries": [{"text": "Sand."}, {"text": "Oak."}], "choice": 1},
    ),
    "openai": (
        "preferences",
        {"input": {"messages": [ASKED]}, "preferred_output": [OAK], "non_preferred_output": [SAND]},
    ),
    "ultrafeedback": (
        "preferences",
        {
            "instruction": "A tree?",
            "completions": [{"response": "Sand.", "overall_score": 1}, {"response": "Oak.", "overall_score": 9.5}],
        },
    ),
    "nectar": (
        "preferences",
        {"prompt": f"{DIALOGUE} ", "answers": [{"answer": "Sand.", "rank": 7}, {"answer": "Oak.", "rank": 1}]},
    ),
    "distilabel": ("preferences", {"input": "A tree?", "generations": ["Oak.", "Sand."], "ratings": [5, 1]}),
    "label_studio": (
        "preferences",
        {
            "data": {"prompt": "A tree?", "answer1": "Oak.", "answer2": "Sand."},
            "annotations": [{"completed_by": 3, "result": [{"value": {"selected": "left"}}]}],
        },
    ),
    "argilla": (
        "preferences",
        {
            "fields": {"prompt": "A tree?", "a": "Oak.", "b": "Sand."},
            "responses": {"best": [{"value": ["a", "b"], "user_id": "u"}]},
        },
    ),
    "prodigy": (
        "preferences",
        {
            "text": "A tree?",
            "options": [{"id": "a", "text": "Sand."}, {"id": "b", "text": "Oak."}],
            "accept": ["b"],
            "answer": "accept",
        },
    ),
    "open_webui": (
        "preferences",
        {
            "data": {"rating": 1},
            "meta": {"message_id": "2"},
            "snapshot": {
                "chat": {
                    "chat": {
                        "history": {
                            "messages": {
                                "1": ASKED | {"childrenIds": ["2", "3"]},
                                "2": OAK | {"parentId": "1"},
                                "3": SAND | {"parentId": "1"},
                            }
                        }
                    }
                }
            },
        },
    ),
    "steps": (
        "prompts",
        {"question": {"problem": "A tree?"}, "label": {"steps": [{"completions": [{"text": "Oak.", "rating": 1}]}]}},
    ),
}
