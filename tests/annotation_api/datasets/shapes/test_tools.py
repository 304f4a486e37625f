"""Tools in imported files: calls, results and descriptions are kept as they came, or refused by the place and why."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from alignment.shared.records import Candidates, Demonstration, Message, Prompt, Ranking, Record, ToolCall
from annotation_api.datasets.exports import ExportFormat, export
from annotation_api.datasets.formats.reading import Reading
from annotation_api.db.tables import Role
from tests.support.jobs import As

ASKED, TOLD = {"role": "user", "content": "Rain in Bern?"}, {"role": "assistant", "content": "No."}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"z": 1, "a": {"b": None}}}}


def calls(arguments: Any = '{"city": "Bern"}', key: str | None = "c1", **more: Any) -> dict[str, Any]:
    named = {} if key is None else {"id": key}
    function = {"name": "weather"} | ({} if arguments is None else {"arguments": arguments})
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{**named, "type": "function", "function": function}],
    } | more


def gives(content: Any = "dry", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **more}


def read(row: dict[str, Any], kind: str = "demonstrations") -> tuple[Reading, list[Any]]:
    reading = Reading(io.BytesIO(json.dumps(row).encode()), kind)
    return reading, [item.record for item in reading]


def called(arguments: str = '{"city": "Bern"}', key: str | None = "c1") -> ToolCall:
    return ToolCall.model_validate({"id": key, "function": {"name": "weather", "arguments": arguments}})


ROW = {"messages": [{"role": "developer", "content": "Be brief."}, ASKED, calls(), gives(tool_call_id="c1"), TOLD]}
PROMPT = Prompt(
    messages=(
        Message(role="system", content="Be brief."),
        Message(role="user", content="Rain in Bern?"),
        Message(role="assistant", content="", tool_calls=(called(),)),
        Message(role="tool", content="dry", tool_call_id="c1"),
    ),
    tools=(json.dumps(WEATHER),),
)


def test_a_chat_with_tools_is_kept_whole() -> None:
    reading, records = read(ROW | {"tools": [WEATHER], "parallel_tool_calls": False})
    assert records == [Demonstration(prompt=PROMPT, response="No.")]
    assert reading.unused == {"parallel_tool_calls": 1}
    assert '{\\"z\\": 1, \\"a\\": {\\"b\\": null}}' in records[0].canonical()  # in the order of the file
    assert read(ROW | {"tools": json.dumps([WEATHER])})[1] == records
    assert read(ROW | {"functions": [WEATHER["function"]]})[1] == records
    assert read(ROW | {"tools": [WEATHER]}, "prompts")[1] == [PROMPT]


def test_a_call_can_be_what_is_learnt() -> None:
    for arguments in ('{"city": "Bern"}', {"city": "Bern"}):
        (found,) = read({"messages": [ASKED, calls(arguments)], "tools": [WEATHER]})[1]
        assert (found.response, found.tool_calls) == ("", (called(),))
    assert read({"messages": [ASKED, calls(None)]})[1][0].tool_calls == (called("{}"),)
    beside = read({"messages": [ASKED, calls(content="Let me look.")]})[1][0]
    assert beside.reply == Message(role="assistant", content="Let me look.", tool_calls=(called(),))


def test_a_call_of_weight_0_is_not_learnt() -> None:
    reading, records = read({"messages": [ASKED, calls(), gives(), TOLD | {"weight": 0}]})
    assert (records[0].response, records[0].tool_calls) == ("", (called(),))
    assert any("cut after their last answer" in note for note in reading.notes)
    reading, records = read({"messages": [ASKED, calls(weight=0), gives(), TOLD]})
    assert records[0].response == "No."


def test_older_shapes_are_the_same_chat() -> None:
    """OpenAI's functions before they were tools, and ShareGPT's roles of them."""
    function = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}}
    old = [ASKED, function, {"role": "function", "name": "weather", "content": "dry"}, TOLD]
    prompt = read({"messages": old})[1][0].prompt
    assert prompt.messages[1:] == (
        Message(role="assistant", content="", tool_calls=(called("{}", None),)),
        Message(role="tool", content="dry", name="weather"),
    )
    said = [("human", "Rain?"), ("function_call", '{"name": "weather"}'), ("observation", "dry"), ("gpt", "No.")]
    row = {"conversations": [{"from": who, "value": text} for who, text in said], "tools": "[]"}
    (found,) = read(row)[1]
    assert [turn.role for turn in found.prompt.messages] == ["user", "assistant", "tool"]
    assert (found.prompt.tools, found.response) == (None, "No.")


BAD = "must be a JSON object"


@pytest.mark.parametrize(
    ("turns", "field", "why"),
    [
        ([gives(), TOLD], "messages[1]", "no turn before it calls one"),
        ([TOLD, gives(), TOLD], "messages[2]", "no turn before it calls one"),
        ([calls(), gives(tool_call_id="c2"), TOLD], "messages[2].tool_call_id", "the call c2, which was not made"),
        ([calls(), gives(tool_call_id="c1"), gives(tool_call_id="c1"), TOLD], "messages[3].tool_call_id", "already"),
        ([calls(), gives(), gives(), TOLD], "messages[3]", "more than tools were called"),
        ([calls(), TOLD], "messages[1].tool_calls", "no result of it comes before the next turn"),
        ([calls('{"a": '), gives(), TOLD], "messages[1].tool_calls[0].function.arguments", BAD),
        ([calls("[1]"), gives(), TOLD], "messages[1].tool_calls[0].function.arguments", BAD),
        ([calls('{"a": NaN}')], "messages[1].tool_calls[0].function.arguments", BAD),
        ([calls('{"a": "\\ud83d"}')], "messages[1].tool_calls[0].function.arguments", BAD),
        ([calls("{" * 100_000)], "messages[1].tool_calls[0].function.arguments", BAD),
        ([calls(key=7)], "messages[1].tool_calls[0].id", "no text"),  # type: ignore[arg-type]
        ([calls() | {"tool_calls": "weather()"}], "messages[1].tool_calls", "must be a list"),
        ([calls(), gives(7), TOLD], "messages[2].content", "must be text"),
        ([{"from": "function_call", "value": "weather()"}], "messages[1].value", "must be JSON"),
        ([calls() | {"role": "user"}, TOLD], "messages[1].tool_calls", "only the assistant calls tools"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_by_its_place(turns: list[Any], field: str, why: str) -> None:
    reading, records = read({"messages": [ASKED, *turns]})
    assert records == []
    (refused,) = reading.refusals
    assert (refused.field, why in refused.message) == (field, True), refused


@pytest.mark.parametrize(
    ("tools", "field", "why"),
    [
        ("{", "tools", "must be JSON"),
        ({"a": 1}, "tools", "must be a list, it is an object"),
        ([1], "tools[0]", BAD),
        ([WEATHER, {"type": "web_search"}], "tools[1]", "must describe a function"),
        ([{"function": {"name": " "}}], "tools[0]", "must describe a function"),
    ],
)
def test_tools_that_are_none_are_refused(tools: Any, field: str, why: str) -> None:
    reading, records = read({"messages": [ASKED, TOLD], "tools": tools})
    assert (records, reading.refusals[0].field) == ([], field)
    assert why in reading.refusals[0].message


BEFORE = [ASKED, calls(), gives(tool_call_id="c1")]
DRY, WET = {"role": "assistant", "content": "Dry."}, {"role": "assistant", "content": "Wet."}


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [*BEFORE, DRY], "rejected": [*BEFORE, WET], "tools": [WEATHER]},
        {"prompt": BEFORE, "chosen": "Dry.", "rejected": "Wet.", "tools": json.dumps([WEATHER])},
        {"messages": [*BEFORE, DRY], "rejected_response": "Wet.", "tools": [WEATHER]},
        {
            "input": {"messages": BEFORE, "tools": [WEATHER]},
            "preferred_output": [DRY],
            "non_preferred_output": [WET],
        },
    ],
)
def test_comparisons_keep_the_tools_before_the_answers(row: dict[str, Any]) -> None:
    reading, records = read(row, "preferences")
    asked = Prompt(messages=PROMPT.messages[1:], tools=PROMPT.tools)
    assert records == [Ranking(prompt=asked, responses=("Dry.", "Wet."), groups=((0,), (1,)))], reading.refusals
    assert reading.unused == {}


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [ASKED, calls()], "rejected": [ASKED, WET]},
        {"prompt": [ASKED], "chosen": [DRY], "rejected": [calls()]},
        {"messages": [ASKED, calls()], "rejected_response": "Wet."},
        {"prompt": "Rain?", "responses": [[DRY], [calls()]]},
    ],
)
def test_an_answer_that_calls_a_tool_is_no_text_to_compare(row: dict[str, Any]) -> None:
    reading, records = read(row, "responses" if "responses" in row else "preferences")
    assert records == []
    assert "calls a tool, and only texts" in reading.refusals[0].message


# ---------------------------------------------------------------- and back from every export

TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(str.strip)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)


@st.composite
def prompts(draw: Any) -> Prompt:
    """Turns with and without calls, results by id or in order."""
    turns = [Message(role="user", content=draw(TEXT))]
    for _ in range(draw(st.integers(0, 2))):
        many, by_id = draw(st.integers(1, 2)), draw(st.booleans())
        made = tuple(call(draw, f"c{n}" if by_id else None) for n in range(many))
        turns.append(Message(role="assistant", content=draw(st.just("") | TEXT), tool_calls=made))
        turns += [Message(role="tool", content=draw(st.just("") | TEXT), tool_call_id=each.id,
                          name=draw(st.none() | TEXT)) for each in made]  # fmt: skip
    tools = tuple(json.dumps({"name": draw(TEXT), "parameters": draw(OBJECT)}) for _ in range(draw(st.integers(0, 2))))
    return Prompt(messages=tuple(turns), tools=tools or None)


def call(draw: Any, key: str | None) -> ToolCall:
    arguments = draw(OBJECT)
    given = draw(st.sampled_from([arguments, json.dumps(arguments), json.dumps(arguments, indent=1)]))
    return ToolCall.model_validate({"id": key, "function": {"name": draw(TEXT), "arguments": given}})


@st.composite
def demonstrations(draw: Any) -> Demonstration:
    made = tuple(call(draw, "c") for _ in range(draw(st.integers(0, 1))))
    response = draw((st.just("") | TEXT) if made else TEXT)
    return Demonstration(prompt=draw(prompts()), response=response, tool_calls=made or None)


@st.composite
def rankings(draw: Any) -> Ranking:
    one, other = draw(st.lists(TEXT, min_size=2, max_size=2, unique=True))
    return Ranking(prompt=draw(prompts()), responses=(one, other), groups=((0,), (1,)))


@st.composite
def responses(draw: Any) -> Candidates:
    return Candidates(
        prompt=draw(prompts()), responses=tuple(draw(st.lists(TEXT, min_size=2, max_size=3, unique=True)))
    )


MADE: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
    "prompts": prompts, "demonstrations": demonstrations, "preferences": rankings, "responses": responses
}  # fmt: skip


@pytest.mark.parametrize("format", ExportFormat)
@pytest.mark.parametrize("kind", MADE)
def test_records_with_tools_come_back(kind: str, format: ExportFormat) -> None:
    """Also those without tools that stand in one file with them; a table's one-message prompt that begins like a
    list is left to test_round_trips.py."""

    @settings(max_examples=15, deadline=None)
    @given(st.lists(MADE[kind](), min_size=1, max_size=3, unique_by=lambda record: record.canonical()))
    def check(records: list[Record]) -> None:
        data = b"".join(export([record.canonical() for record in records], kind, format, tools=True))
        reading = Reading(io.BytesIO(data), kind)
        found = [item.record for item in reading]
        assert reading.refusals == []
        assert found == records
        assert reading.unused == {}

    check()


def test_a_table_without_columns_for_tools_takes_no_record_that_has_some() -> None:
    with pytest.raises(AssertionError, match="no column for tools"):
        list(export([PROMPT.canonical()], "prompts", ExportFormat.PARQUET))


@pytest.mark.parametrize("kept", [True, False])
def test_a_snapshots_tables_have_columns_for_tools_where_a_row_has_some(as_: As, kept: bool) -> None:
    """Through import, freeze and download; a text that looks like a key of ours is none."""
    engineer = as_(Role.ENGINEER)
    plain = {"messages": [{"role": "user", "content": 'Is "tools": or "role":"tool" a key?'}, TOLD]}
    rows = [plain, ROW | {"tools": [WEATHER]}] if kept else [plain]
    body = "\n".join(map(json.dumps, rows)).encode()
    sent = engineer.post("/v1/datasets", files={"file": ("chats.jsonl", body)}, data={"kind": "demonstrations"})
    asked = {"kind": "demonstrations", "dataset": sent.json()["dataset"]}
    key = engineer.post("/v1/snapshots", json=asked).json()["id"]

    def exported(format: str) -> bytes:
        return engineer.get(f"/v1/snapshots/{key}/export", params={"format": format}).content

    expected = ["prompt", "completion", "split", "lineage", *(["tools"] if kept else [])]
    assert parquet.read_schema(io.BytesIO(exported("parquet"))).names == expected
    assert exported("csv").decode().splitlines()[0].split(",") == expected
    full = parquet.read_table(io.BytesIO(exported("records-parquet"))).to_pylist()
    assert [row.get("tools") for row in full] == ([None, [json.dumps(WEATHER)]] if kept else [None])
    back = list(Reading(io.BytesIO(exported("parquet")), "demonstrations"))
    assert [item.record.prompt.tools for item in back] == [None, (json.dumps(WEATHER),)][: len(rows)]  # type: ignore[attr-defined]
