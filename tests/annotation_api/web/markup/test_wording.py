"""What two replies do not share is marked, and both texts come back unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_api.web.markup.wording import MOST, Stretch, differing


def test_the_words_of_one_side_alone_are_marked() -> None:
    old, new = differing("The cat sat down.", "The old cat stood.")
    assert [part.text for part in old if part.own] == ["sat down"]
    assert [part.text.strip() for part in new if part.own] == ["old", "stood"]


def test_chinese_is_compared_by_character() -> None:
    old, new = differing("我喜欢猫", "我喜欢狗")
    assert (old, new) == (
        [Stretch("我喜欢", False), Stretch("猫", True)],
        [Stretch("我喜欢", False), Stretch("狗", True)],
    )


@pytest.mark.parametrize("text", ["same", "", "<b>&"])
def test_alike_texts_have_no_mark(text: str) -> None:
    assert differing(text, text) == ([Stretch(text, False)], [Stretch(text, False)])


def test_very_long_texts_are_not_compared() -> None:
    old, new = differing("a " * MOST, "b " * MOST)
    assert not old[0].own
    assert not new[0].own


@given(st.text(), st.text())
def test_nothing_is_lost(before: str, after: str) -> None:
    old, new = differing(before, after)
    assert ("".join(part.text for part in old), "".join(part.text for part in new)) == (before, after)
