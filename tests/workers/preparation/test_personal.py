"""Personal data: precision and recall by kind and language on sentences of ours, and masks that agree."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from alignment.shared.records import Demonstration, Prompt, sha256_text
from tests.workers.preparation.samples import MADE, sentences
from workers.preparation.personal import Masks, find
from workers.preparation.texts import rewritten, written_texts

PRECISION, RECALL = 0.95, 0.9  # the floors of the kinds with numbers


def measured() -> dict[tuple[str, str], tuple[float, float, int]]:
    """Precision, recall and number of sentences, by language and kind."""
    right: Counter[tuple[str, str]] = Counter()
    said: Counter[tuple[str, str]] = Counter()
    there: Counter[tuple[str, str]] = Counter()
    for language, text, kind, value in sentences(200):
        if kind is not None:
            there[language, kind] += 1
        for one in find(text):
            said[language, one.kind] += 1
            right[language, one.kind] += one.kind == kind and one.value == value
    keys = [(language, kind) for language in ("zh", "en") for kind in MADE]
    return {key: (right[key] / max(said[key], 1), right[key] / there[key], there[key]) for key in keys}


def test_precision_and_recall_are_above_their_floors() -> None:
    found = measured()
    print(f"\n{'':4}{'kind':12}{'precision':>10}{'recall':>8}{'n':>6}")
    for (language, kind), (precision, recall, n) in found.items():
        print(f"{language:4}{kind:12}{precision:10.3f}{recall:8.3f}{n:6}")
    assert {key for key, (precision, recall, _) in found.items() if precision < PRECISION or recall < RECALL} == set()


@pytest.mark.parametrize(
    "text",
    ["11010519491231002", "110105194912310021", "4111 1111 1111 1112", "1234567890123456", "12345678901", "256.1.1.1",
     "version 10.2.3.4", "127.0.0.1", "2024-03-15", "3.14159265358979", "a@b", "12:30:45", "sk-short", "000-12-3456"],
)  # fmt: skip
def test_what_only_looks_like_it(text: str) -> None:
    assert find(f"看 {text} here.") == []


def test_a_value_has_one_mask_wherever_it_comes_up() -> None:
    mask = Masks()
    assert mask("Write to Li@example.com or 138 1234 5678.") == "Write to [email 1] or [phone 1]."
    assert mask("13812345678 and li@example.com, not bo@example.com") == "[phone 1] and [email 1], not [email 2]"


def test_only_the_kinds_that_were_asked_for() -> None:
    assert Masks(["email"])("a@example.com 13812345678") == "[email 1] 13812345678"


def test_what_stands_in_calls_of_tools_is_masked_too() -> None:
    """Texts and numbers in arguments, results and descriptions; whose call a result answers stays."""
    called = {
        "id": "c1",
        "function": {"name": "call", "arguments": {"to": 13812345678, "cc": ["li@example.com", True]}},
    }
    turns = [
        {"role": "user", "content": "Ring Li."},
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c1", "content": "rang 13812345678"},
    ]
    tools = [{"name": "call", "description": "as li@example.com"}]
    record = Demonstration.model_validate_json(
        json.dumps({"prompt": {"messages": turns, "tools": tools}, "response": "", "tool_calls": [called]})
    )
    assert {one.kind for text in written_texts(record) for one in find(text)} == {"phone", "email"}
    masked = rewritten(record, Masks())
    assert isinstance(masked, Demonstration)
    line = masked.canonical()
    assert ("13812345678" in line, "li@example.com" in line) == (False, False)
    (again,) = masked.tool_calls or ()
    assert json.loads(again.function.arguments) == {"to": "[phone 1]", "cc": ["[email 1]", True]}
    assert masked.prompt.messages[2].content == "rang [phone 1]"
    assert masked.lineage["original"] == sha256_text(record.canonical())


def test_a_record_of_tools_without_personal_data_stays_as_it_was() -> None:
    text = '{"a":  1.50,"b":"x"}'
    prompt = Prompt.from_text("Q?")
    record = Demonstration.model_validate_json(
        json.dumps({"prompt": prompt.model_dump(), "response": "", "tool_calls": [
            {"function": {"name": "f", "arguments": text}}]})
    )  # fmt: skip
    after = rewritten(record, lambda text: text)
    assert isinstance(after, Demonstration)
    assert after.tool_calls == record.tool_calls
