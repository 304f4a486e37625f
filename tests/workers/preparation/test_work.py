"""A preparation from its file to its report: each step, what it leaves out, what it never touches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alignment.shared.errors import BadInput
from alignment.shared.events import NullReporter
from alignment.shared.on_data.prepare import PrepareConfig
from alignment.shared.records import Candidates, Demonstration, Prompt, Ranking, Record, sha256_text, write_jsonl
from alignment.shared.stages import PrepareInputs
from workers.preparation import quality
from workers.preparation.kinds import kind_of
from workers.preparation.lengths import TokenMeasure
from workers.preparation.steps import MASKED_ALIKE, record_of
from workers.preparation.work import prepare

LONG = "The river runs past the old mill and on to the sea, where the fishers mend their nets in the evening light."


def shown(prompt: str, response: str = LONG, **more: Any) -> Demonstration:
    return Demonstration(prompt=Prompt.from_text(prompt), response=response, **more)


def ranked(prompt: str, *responses: str, **more: Any) -> Ranking:
    groups = tuple((i,) for i in range(len(responses)))
    return Ranking(prompt=Prompt.from_text(prompt), responses=responses, **({"groups": groups} | more))


def run(
    tmp: Path, records: list[Any], beside: dict[str, list[Any]] | None = None, **config: Any
) -> tuple[Any, list[Any]]:
    """The report and the records that stay."""
    paths = {}
    for name, rows in {"records": records, **(beside or {})}.items():
        paths[name] = tmp / f"{name}.jsonl"
        write_jsonl(paths[name], rows)
    out = tmp / "out"
    out.mkdir()
    result = prepare(PrepareConfig(**config), PrepareInputs(**paths), out, NullReporter())
    assert sorted(path.name for path in out.iterdir()) == ["preparation.json", "prepared.jsonl"]
    kept = [record_of(line) for line in (out / "prepared.jsonl").read_bytes().splitlines()]
    report = json.loads((out / "preparation.json").read_text())
    assert report == result.details["preparation"]
    assert (report["before"], report["after"]) == (len(records), len(kept))
    return report, kept


def test_nothing_asked_changes_nothing(tmp_path: Path) -> None:
    records = [shown("a"), Prompt.from_text("b"), ranked("c", "x", "y"),
               Candidates(prompt=Prompt.from_text("d"), responses=("x", "y"))]  # fmt: skip
    report, kept = run(tmp_path, records)
    assert (kept, report["steps"]) == (records, [])


def test_quality_says_why(tmp_path: Path) -> None:
    records = [shown("a"), shown("b", "No."), shown("c", "so it goes on " * 30), shown("d", "$$$ ### ~~~ " * 4 + "abc")]
    report, kept = run(tmp_path, records, min_characters=10, max_repetition=0.5, max_symbols=0.3)
    assert kept == records[:1]
    (step,) = report["steps"]
    assert step["left_out"] == {"is shorter than 10 characters": 1, "repeats itself": 1, "holds many symbols": 1}
    assert step["examples"][0] == {"row": 2, "why": "is shorter than 10 characters", "text": "No."}


def test_chinese_repetition_and_language(tmp_path: Path) -> None:
    chinese = "昨天我们去了河边，看见渔夫在晚霞里补网，孩子们在岸上放风筝，远处传来磨坊的水声。"
    records = [shown("a", chinese), shown("b", "今天天气很好。" * 20), shown("c", LONG)]
    report, kept = run(tmp_path, records, max_repetition=0.5, languages=["zh"])
    assert kept == records[:1]
    assert report["steps"][0]["left_out"] == {"repeats itself": 1, "is in another language (en)": 1}


def test_repeated_lines_go_from_demonstrations_only(tmp_path: Path) -> None:
    text = "One line.\nAnother line.\nOne line.\n\n---\n---"
    records = [shown("a", text), ranked("b", text, "y")]
    _, kept = run(tmp_path, records, repeated_lines=True)
    assert kept[0].response == "One line.\nAnother line.\n\n---\n---"
    assert kept[0].lineage == {"original": sha256_text(records[0].canonical())}
    assert kept[1] == records[1]


def test_repeated_lines_of_code_stay() -> None:
    code = "Tree = {\n  'children': [\n    'a'\n  'children': [\nreturn x;\nreturn x;"
    assert quality.without_repeated_lines(code) == code
    assert quality.without_repeated_lines("Hi there.\nHi there.") == "Hi there."


def test_what_people_ranked_is_masked_with_its_original_hash_or_left_out_whole(tmp_path: Path) -> None:
    records = [
        ranked("Call 13812345678?", "Yes, 138-1234-5678.", "No.", lineage={"task": "t"}),
        ranked("Which?", "a@example.com", "A@EXAMPLE.COM"),
        ranked("Plain?", "x", "y"),
    ]
    report, kept = run(tmp_path, records, personal="mask")
    assert kept[1:] == records[2:]
    assert (kept[0].prompt.text, kept[0].responses) == ("Call [phone 1]?", ("Yes, [phone 1].", "No."))
    assert (kept[0].groups, kept[0].lineage) == (
        records[0].groups,
        {"task": "t", "original": sha256_text(records[0].canonical())},
    )
    assert report["steps"][0]["left_out"] == {MASKED_ALIKE: 1}


def test_personal_data_can_be_left_out(tmp_path: Path) -> None:
    report, kept = run(tmp_path, [shown("a"), shown("b", "Write to a@example.com")], personal="leave_out")
    assert len(kept) == 1
    assert report["steps"][0]["left_out"] == {"holds personal data: email": 1}


def test_duplicates_exact_and_near_in_both_languages(tmp_path: Path) -> None:
    chinese = "昨天我们去了河边，看见渔夫在晚霞里补网，孩子们在岸上放风筝，远处传来磨坊的水声，直到天黑才回家。"
    records = [
        shown("How was it?"), shown("how  was IT?"), shown("How was it?", LONG[:-1] + "!"),
        shown("How was it?", LONG[::-1]),
        shown("怎么样？", chinese), shown("怎么样？", chinese[:-1] + "！"),
        shown("怎么样？", "完全不同的回答，说的是另一件事情。"),
    ]  # fmt: skip
    report, kept = run(tmp_path, records, duplicates="near")
    assert kept == [records[i] for i in (0, 3, 4, 6)]
    assert report["steps"][0]["left_out"] == {
        "says nearly the same as an earlier record": 2,
        "says the same as an earlier record": 1,
    }


def test_other_peoples_votes_stay(tmp_path: Path) -> None:
    one = ranked("Q?", "x", "y", annotator="a")
    records = [one, one.model_copy(update={"annotator": "b"}), one.model_copy(update={"groups": ((1,), (0,))}), one]
    _, kept = run(tmp_path, records, duplicates="near")
    assert kept == records[:3]


def test_what_the_evaluation_asks_and_what_other_data_hold(tmp_path: Path) -> None:
    asked = "Tell me about the river, the mill and the fishers in the evening."
    records = [
        shown(asked),
        shown(asked.replace("Tell", "tell") + " Please"),
        shown("Something else?", LONG[::-1]),
        shown("Known?"),
    ]
    beside: dict[str, list[Record]] = {"evaluation": [Prompt.from_text(asked)], "against": [shown("KNOWN?")]}
    report, kept = run(tmp_path, records, beside)
    assert kept == records[2:3]
    assert [step["left_out"] for step in report["steps"]] == [
        {"asks what an evaluation prompt asks": 2},
        {"is in the other data, too": 1},
    ]


def test_caps_are_drawn_the_same_each_time_and_weights_count(tmp_path: Path) -> None:
    def asked(i: int, language: str) -> Ranking:
        return Ranking(prompt=Prompt.from_text(f"{i}?", language=language), responses=("x", "y"), groups=((0,), (1,)))

    records = [asked(i, "en" if i % 4 else "zh") for i in range(40)]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    report, kept = run(tmp_path / "one", records, cap=10, weights={"zh": 2.0})
    again = run(tmp_path / "two", records, cap=10, weights={"zh": 2.0})[1]
    assert kept == again
    assert report["groups"] == {"en": 30, "zh": 10}
    assert [(r.weight, r.prompt.language) for r in kept].count((2.0, "zh")) == 10
    assert len(kept) == 20


def test_nothing_left_is_refused_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"Nothing stays.*1 is shorter than 100"):
        run(tmp_path, [shown("a", "x")], min_characters=100)


def test_shares_by_hand() -> None:
    assert quality.symbols("ab$#") == 0.5
    # 24 tokens, 20 runs of five; the cycle of four words gives four different ones
    assert quality.repetition("a b c d " * 6) == 1 - 4 / 20


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Translate this into French: good day", "translate"),
        ("请把下面的话翻译成英文", "translate"),
        ("Write a poem about rain.", "write"),
        ("请写一首诗", "write"),
        ("What is 12 * 7?", "maths"),
        ("Why is the sky blue?", "explain"),
        ("列出五种树", "list"),
        ("Is a whale a fish?", "question"),
        ("rain", "other"),
    ],
)
def test_kinds_of_tasks(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_caps_and_weights_by_kind_and_source(tmp_path: Path) -> None:
    asked = [shown(f"List {n} trees.", lineage={"source": "a"}) for n in range(6)]
    asked += [shown(f"Translate {n} trees into French.", lineage={"source": "b"}) for n in range(3)]
    (tmp_path / "kind").mkdir()
    report, kept = run(tmp_path / "kind", asked, cap_by="kind", cap=3)
    assert (report["groups"], len(kept)) == ({"list": 6, "translate": 3}, 6)
    (tmp_path / "source").mkdir()
    _, kept = run(tmp_path / "source", asked, cap_by="source", weights={"a": 1e-9})
    assert [record.lineage["source"] for record in kept] == ["b"] * 3


def test_lengths_by_hand(tmp_path: Path) -> None:
    measure = TokenMeasure(lambda texts: [len(text.split()) * 2 for text in texts], context=9)
    records = [shown("one two", "three"), ranked("one", "two", "three four five six"), shown("一个 问题", "回答")]
    path = tmp_path / "records.jsonl"
    write_jsonl(path, records)
    (tmp_path / "out").mkdir()
    told = prepare(PrepareConfig(), PrepareInputs(records=path), tmp_path / "out", NullReporter(), measure)
    tokens = told.details["preparation"]["tokens"]
    # 4 + 2; 2 + the longer response's 8; each word two tokens
    assert tokens["languages"]["other"] == {
        "records": 2, "median": 8, "p95": 9.8, "longest": 10, "fertility": 2.0, "over": 0.5}  # fmt: skip
    # 4 + 2 tokens of 6 characters
    assert tokens["languages"]["zh"]["fertility"] == 1.0
    assert (tokens["context"], tokens["over"]) == (9, 0.3333)
