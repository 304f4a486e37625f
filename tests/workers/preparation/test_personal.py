"""Personal data: precision and recall by kind and language on sentences of ours, and masks that agree."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.workers.preparation.samples import MADE, sentences
from workers.preparation.personal import Masks, find

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
