"""The records: what they refuse, what they imply, and that a file of them has one hash."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alignment.shared.records import Message, Prompt, Ranking, read_jsonl, sha256_text, split_of, storable, write_jsonl

PROMPT = Prompt.from_text("猫是什么颜色?", language="zh")


def ranking(groups: tuple[tuple[int, ...], ...], responses: tuple[str, ...] = ("a", "b", "c")) -> Ranking:
    return Ranking(prompt=PROMPT, responses=responses, groups=groups)


@st.composite
def orders(draw: st.DrawFn) -> Ranking:
    """A partial order of 2 to 9 different responses."""
    k = draw(st.integers(2, 9))
    ranks = draw(st.lists(st.integers(0, k - 1), min_size=k, max_size=k))
    groups = tuple(tuple(i for i, r in enumerate(ranks) if r == rank) for rank in sorted(set(ranks)))
    return ranking(groups, tuple(f"response {i}" for i in range(k)))


def test_ranks_and_pairs_of_a_ranking_with_a_tie() -> None:
    """b is best, a and c tie: two comparisons."""
    order = ranking(((1,), (0, 2)))
    assert order.ranks == (1, 0, 1)
    assert order.pairs() == ((1, 0), (1, 2))


@given(orders())
def test_every_two_responses_are_compared_once_or_tied(order: Ranking) -> None:
    pairs = order.pairs()
    tied = {frozenset(p) for group in order.groups for p in itertools.combinations(group, 2)}
    assert {frozenset(p) for p in pairs}.isdisjoint(tied)
    assert len(pairs) + len(tied) == len(order.responses) * (len(order.responses) - 1) // 2


@given(orders())
def test_a_line_reads_back_as_it_was(order: Ranking) -> None:
    assert Ranking.from_line(order.canonical()) == order


@pytest.mark.parametrize("groups", [((0, 1),), ((0,), (0, 1, 2)), ((0, 1, 2, 3),), ((0, 1, 2), ()), ((0, 1, -1),)])
def test_groups_must_hold_each_response_once(groups: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValidationError, match="each index from 0 to 2 exactly once"):
        ranking(groups)


def test_identical_responses_must_tie() -> None:
    with pytest.raises(ValidationError, match="identical responses must be tied, but 'a'"):
        ranking(((0,), (1, 2)), ("a", "a", "b"))
    assert ranking(((0, 1), (2,)), ("a", "a", "b")).pairs() == ((0, 2), (1, 2))


def test_a_prompt_ends_with_the_users_words() -> None:
    with pytest.raises(ValidationError, match="the last message must be the user's, it is the assistant's"):
        Prompt(messages=(Message(role="user", content="hi"), Message(role="assistant", content="hello")))
    with pytest.raises(ValidationError, match="the last message is empty"):
        Prompt.from_text("  ")


def test_the_key_of_a_prompt_is_its_words_alone() -> None:
    assert PROMPT.key == Prompt.from_text("猫是什么颜色?", criterion="helpful").key
    assert PROMPT.key != Prompt.from_text("狗是什么颜色?").key


def test_a_prompt_stands_on_one_side_and_the_share_is_kept() -> None:
    sides = [split_of(Prompt.from_text(f"question {i}"), 0.2) for i in range(2000)]
    assert sides == [split_of(Prompt.from_text(f"question {i}", language="en"), 0.2) for i in range(2000)]
    assert sides.count("heldout") == pytest.approx(400, abs=60)  # three standard deviations are 54
    assert split_of(PROMPT, 0.0) == "train"
    assert split_of(PROMPT, 1.0) == "heldout"


def test_a_file_has_the_hash_of_its_lines(tmp_path: Path) -> None:
    records = [ranking(((0,), (1,), (2,))), ranking(((2, 1), (0,)))]
    path = tmp_path / "rankings.jsonl"
    assert write_jsonl(path, records) == sha256_text("".join(r.canonical() + "\n" for r in records))
    assert "猫" in path.read_text(encoding="utf-8")
    assert list(read_jsonl(path, Ranking)) == records


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"messages": []}', "/messages: At least 1 must be given"),
        (
            '{"messages": [{"role": "user", "content": "Hi"}], "langage": "en"}',
            "Did you mean 'language'? (got \"en\").",
        ),
        ('{"messages":', "/: Invalid JSON"),
        ("\udcff", "/: Invalid JSON"),
    ],
)
def test_a_bad_line_is_named_with_its_field_and_value(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(f"{PROMPT.canonical()}\n{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"prompts\.jsonl, line 2: ") as raised:
        list(read_jsonl(path, Prompt))
    assert said in str(raised.value)
    assert "pydantic" not in str(raised.value)


def test_storable_text_and_numbers() -> None:
    given_ = {"a": float("nan"), "b": [float("inf"), 1.5, True], "c": "x\0y\ud800"}
    assert storable(given_) == {"a": None, "b": [None, 1.5, True], "c": "x\ufffdy\ufffd"}
