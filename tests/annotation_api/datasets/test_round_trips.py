"""What we export, we read back as it was: records whole, pairs from the flat rows."""

from __future__ import annotations

import io
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignment.shared.records import Demonstration, Message, Prompt, Ranking, Record
from annotation_api.datasets.exports import ExportFormat, export
from annotation_api.datasets.formats.reading import Reading

TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(str.strip)
LINEAGE = st.dictionaries(st.sampled_from(["task", "submission"]), TEXT, max_size=2)
WHOLE = [ExportFormat.JSONL, ExportFormat.RECORDS_PARQUET]


@st.composite
def prompts(draw: Any) -> Prompt:
    turns = draw(st.integers(0, 2))
    said = [Message(role=role, content=draw(TEXT)) for _ in range(turns) for role in ("user", "assistant")]  # type: ignore[arg-type]
    system = [Message(role="system", content=draw(TEXT))] if draw(st.booleans()) else []
    extra = {"criterion": draw(st.sampled_from([None, "helpful"])), "language": draw(st.sampled_from([None, "zh"]))}
    return Prompt(messages=(*system, *said, Message(role="user", content=draw(TEXT))), **extra)


@st.composite
def rankings(draw: Any, most: int = 5) -> Ranking:
    responses = draw(st.lists(TEXT, min_size=2, max_size=most, unique=True))
    order = draw(st.permutations(range(len(responses))))
    cut = draw(st.integers(1, len(order))) if most > 2 else 1
    groups = ((*order[:cut],), *((i,) for i in order[cut:]))
    return Ranking(
        prompt=draw(prompts()), responses=tuple(responses), groups=groups,
        strength=draw(st.sampled_from([None, 2, 3, 4])), all_bad=draw(st.booleans()),
        ratings=draw(st.sampled_from([None, tuple(range(1, len(responses) + 1))])), rationale=draw(st.none() | TEXT),
        annotator=draw(st.none() | TEXT), weight=draw(st.sampled_from([1.0, 0.25])), lineage=draw(LINEAGE),
    )  # fmt: skip


@st.composite
def demonstrations(draw: Any) -> Demonstration:
    return Demonstration(prompt=draw(prompts()), response=draw(TEXT), lineage=draw(LINEAGE))


def back(records: list[Any], kind: str, format: ExportFormat) -> list[Record]:
    data = b"".join(export([record.canonical() for record in records], kind, format))
    reading = Reading(io.BytesIO(data), kind)
    found = [item.record for item in reading]
    assert reading.refusals == []
    assert reading.unused == {}
    return found


def distinct(strategy: Any) -> Any:
    return st.lists(strategy, min_size=1, max_size=4, unique_by=lambda record: record.canonical())


@pytest.mark.parametrize("format", WHOLE)
@pytest.mark.parametrize(
    ("kind", "made"), [("rankings", rankings()), ("demonstrations", demonstrations()), ("prompts", prompts())]
)
def test_whole_records_come_back(kind: str, made: Any, format: ExportFormat) -> None:
    @settings(max_examples=25, deadline=None)
    @given(distinct(made))
    def check(records: list[Any]) -> None:
        assert back(records, kind, format) == records

    check()


@pytest.mark.parametrize("format", [ExportFormat.TRL, ExportFormat.PARQUET])
def test_pairs_come_back_from_the_flat_rows(format: ExportFormat) -> None:
    pair = Ranking(
        prompt=Prompt.from_text("Name a tree."), responses=("Sand.", "Oak."), groups=((1,), (0,)), strength=3,
        weight=0.5, lineage={"task": "t"},
    )  # fmt: skip
    (found,) = back([pair], "preferences", format)
    assert found == pair.model_copy(update={"responses": ("Oak.", "Sand."), "groups": ((0,), (1,))})
    shown = Demonstration(prompt=pair.prompt, response="Oak.", lineage={"task": "t"})
    assert back([shown], "demonstrations", format) == [shown]
    assert back([pair.prompt], "prompts", format) == [pair.prompt]


def test_a_lineage_that_is_none_is_refused() -> None:
    row = {"prompt": "Q?", "chosen": "a", "rejected": "b", "split": "train", "lineage": "["}
    reading = Reading(io.BytesIO(json.dumps(row).encode()), "preferences")
    assert list(reading) == []
    assert reading.refusals[0].field == "lineage"


NASTY = st.sampled_from(
    ["=1+1", "'=1", "''x", "-", "@a", "[1]", '["a"]', "a\r\nb", 'say "x", y', "\ttab", "+86", "nan", "#"]
)
CELL = NASTY | TEXT


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(CELL, CELL, CELL, st.sampled_from([None, 2, 3, 4]), st.sampled_from([1.0, 0.25])).filter(
            lambda row: row[1] != row[2]
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda row: row[:3],
    )
)
def test_pairs_and_demonstrations_come_back_from_a_table(rows: list[Any]) -> None:
    pairs = [
        Ranking(
            prompt=Prompt.from_text(asked),
            responses=(one, other),
            groups=((0,), (1,)),
            strength=strength,
            weight=weight,
        )
        for asked, one, other, strength, weight in rows
    ]
    assert back(pairs, "preferences", ExportFormat.CSV) == pairs
    shown = [Demonstration(prompt=pair.prompt, response=pair.responses[0]) for pair in pairs[:1]]
    assert back(shown, "demonstrations", ExportFormat.CSV) == shown
    assert back([pairs[0].prompt], "prompts", ExportFormat.CSV) == [pairs[0].prompt]


@settings(max_examples=60, deadline=None)
@given(prompts(), TEXT)
def test_chats_of_several_turns_come_back_from_a_table(asked: Prompt, one: str) -> None:
    plain = Prompt(messages=asked.messages)
    shown = Demonstration(prompt=plain, response=one)
    assert back([shown], "demonstrations", ExportFormat.CSV) == [shown]


MANY = 10_000


@pytest.mark.deep(reason="10,000 records through every format take half a minute; the smaller trips find most faults")
@pytest.mark.parametrize("format", ExportFormat)
def test_many_records_come_back(format: ExportFormat) -> None:
    rng = random.Random(3)

    def said() -> str:
        return "".join(rng.choices("aé字😀 \n\t,;\"'=+-@[]{}<>|#&", k=rng.randint(1, 40))) + "x"

    plain = [Prompt.from_text(f"{n} {said()}") for n in range(MANY)]
    pairs = [
        Ranking(
            prompt=prompt, responses=(f"a{said()}", f"b{said()}"), groups=((0,), (1,)),
            strength=rng.choice([None, 2, 3, 4]), weight=rng.choice([1.0, 0.25]), lineage={"task": str(n)},
        )
        for n, prompt in enumerate(plain)
    ]  # fmt: skip
    assert back(pairs, "preferences", format) == pairs
    shown = [Demonstration(prompt=prompt, response=said(), lineage={"task": "t"}) for prompt in plain]
    assert back(shown, "demonstrations", format) == shown
    assert back(plain, "prompts", format) == plain
