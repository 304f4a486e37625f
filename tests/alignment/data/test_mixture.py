"""Demonstrations of several sources, each in its share."""

from collections import Counter

import pytest

from alignment.data.mixture import by_source, mixed
from alignment.shared.errors import BadInput
from alignment.shared.records import Demonstration, Prompt


def rows_of(**counts: int) -> list[Demonstration]:
    return [
        Demonstration(prompt=Prompt.from_text(f"{name} {number}"), response="yes", lineage={"dataset": name})
        for name, count in counts.items()
        for number in range(count)
    ]


def test_without_weights_every_row_comes_once_and_in_order() -> None:
    rows = rows_of(a=3, b=2)
    assert mixed(rows, {}, 0, 0) == rows
    assert by_source([*rows, Demonstration(prompt=Prompt.from_text("x"), response="y")]) == {"a": 3, "b": 2, "none": 1}


def test_a_weight_is_how_often_each_row_comes() -> None:
    rows = rows_of(a=10, b=4, c=3)
    found = mixed(rows, {"a": 0.5, "b": 2.5, "c": 0.0}, 0, 7)
    assert by_source(found) == {"a": 5, "b": 10}
    assert sorted(Counter(row.prompt.text for row in found if row.lineage["dataset"] == "b").values()) == [2, 2, 3, 3]
    assert found == mixed(rows, {"a": 0.5, "b": 2.5, "c": 0.0}, 0, 7)
    assert found != mixed(rows, {"a": 0.5, "b": 2.5, "c": 0.0}, 0, 8), "the seed draws"


def test_a_cap_comes_before_the_weights() -> None:
    assert by_source(mixed(rows_of(a=10, b=4), {"b": 2.0}, 3, 0)) == {"a": 3, "b": 6}


def test_weights_that_leave_nothing_are_told() -> None:
    with pytest.raises(BadInput, match=r"source_weights leaves none of 3 demonstrations: \{'a': 0.0\}"):
        mixed(rows_of(a=3), {"a": 0.0}, 0, 0)
