"""The cases at ../shared/cases/imports: what comes of each file, by number of records, layout, and a word said.

Where the folder is absent the tests are skipped; test_shapes.py covers the same shapes with rows of our own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotation_api.datasets.formats.reading import Reading

CASES = Path(__file__).parents[4] / "shared" / "cases" / "imports"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is absent")

# file, kind, format: layout, records, refused rows, a word of the last refusal or of a note
EXPECTED: dict[tuple[str, str, str], tuple[str, int, int, str]] = {
    ("ultrafeedback_binarized.jsonl", "preferences", "auto"): (
        "trl",
        1,
        0,
        "the field score_chosen changes what a row me",
    ),
    ("orca_dpo.jsonl", "preferences", "auto"): ("trl", 1, 0, ""),
    ("rm_static.jsonl", "preferences", "auto"): ("trl", 1, 0, "unused:response"),
    ("rm_static.jsonl", "prompts", "auto"): ("trl", 1, 0, "unused:response"),
    ("rm_static.jsonl", "demonstrations", "auto"): ("trl", 0, 1, "holds a comparison, not a demonstration; imp"),
    ("hh_trl_style.jsonl", "preferences", "auto"): ("trl", 1, 0, ""),
    ("hh_no_leading.jsonl", "preferences", "auto"): ("hh", 1, 0, ""),
    ("hh_two_humans.jsonl", "preferences", "auto"): ("hh", 1, 0, "chats in which one side speaks twice in a ro"),
    ("hh_quote_in_text.jsonl", "preferences", "auto"): ("hh", 0, 1, "parts from chosen before the last answer; bo"),
    ("ultrafeedback_nested.jsonl", "preferences", "auto"): ("ultrafeedback", 1, 0, "unused:source"),
    ("helpsteer2_pref.jsonl", "preferences", "auto"): ("helpsteer", 1, 0, "unused:split"),
    ("helpsteer2.jsonl", "demonstrations", "auto"): ("alpaca", 2, 0, "the field correctness changes what a row mea"),
    ("arena_battles.jsonl", "preferences", "auto"): ("battles", 2, 0, "rankings in which every answer is tied: they"),
    ("arena_55k.csv", "preferences", "auto"): ("arena", 1, 0, "unused:id"),
    ("arena_55k.csv", "prompts", "auto"): ("arena", 1, 0, "unused:id"),
    ("shp.jsonl", "preferences", "auto"): ("shp", 1, 0, "unused:post_id"),
    ("webgpt.jsonl", "preferences", "auto"): ("webgpt", 1, 0, "unused:quotes_0"),
    ("stack_paired.jsonl", "preferences", "auto"): ("stack", 1, 0, "unused:qid"),
    ("beavertails.jsonl", "demonstrations", "auto"): ("alpaca", 1, 0, "responses that were judged unsafe were left "),
    ("capybara_dpo.jsonl", "preferences", "auto"): ("trl", 1, 0, "the field rating_chosen changes what a row m"),
    ("argilla2_export.json", "preferences", "auto"): ("argilla", 1, 0, "unused:id"),
    ("labelstudio_pairwise.json", "preferences", "auto"): ("label_studio", 1, 0, "unused:id"),
    ("openai_dpo.jsonl", "preferences", "auto"): ("openai", 1, 0, ""),
    ("trl_margin.jsonl", "preferences", "auto"): ("trl", 1, 0, "margins that are none of the steps 1/3, 2/3 "),
    ("identical_sides.jsonl", "preferences", "auto"): ("trl", 2, 0, "identical answers that stood next to one ano"),
    ("llamafactory_dpo_sharegpt.json", "preferences", "auto"): ("trl", 1, 0, ""),
    ("oasst_deleted.jsonl", "preferences", "auto"): ("oasst", 0, 0, "trees that were given up as spam or of low q"),
    ("openai_weight0.jsonl", "demonstrations", "auto"): (
        "sharegpt",
        1,
        0,
        "chats in which no answer is to be learnt (wei",
    ),
    ("openai_multi_turn.jsonl", "demonstrations", "auto"): (
        "sharegpt",
        1,
        0,
        "chats of several answers: the last is learnt",
    ),
    ("openai_tools.jsonl", "demonstrations", "auto"): (
        "sharegpt",
        1,
        0,
        "chats of several answers: the last is learnt",
    ),
    ("openai_tools_def_only.jsonl", "demonstrations", "auto"): ("sharegpt", 1, 0, ""),
    ("developer_role.jsonl", "demonstrations", "auto"): ("sharegpt", 1, 0, ""),
    ("sharegpt_tools.json", "demonstrations", "auto"): (
        "sharegpt",
        1,
        0,
        "chats of several answers: the last is learnt",
    ),
    ("sharegpt_tools_column.json", "demonstrations", "auto"): ("sharegpt", 1, 0, ""),
    ("sharegpt_gpt_first.jsonl", "demonstrations", "auto"): (
        "sharegpt",
        2,
        0,
        "chats in which one side speaks twice in a ro",
    ),
    ("lmsys_chat.jsonl", "prompts", "auto"): ("sharegpt", 1, 0, "unused:conversation_id"),
    ("dolly.jsonl", "demonstrations", "auto"): ("alpaca", 1, 0, "unused:category"),
    ("input_and_context.jsonl", "demonstrations", "auto"): ("alpaca", 1, 0, ""),
    ("alpaca_list_output.jsonl", "demonstrations", "auto"): (
        "oasst",
        0,
        1,
        "is a list of answers, which is a ranking; im",
    ),
    ("alpaca_list_output.jsonl", "preferences", "auto"): (
        "oasst",
        1,
        0,
        "the answers in the list `output` were taken ",
    ),
    ("alpaca_text_column.jsonl", "demonstrations", "auto"): ("alpaca", 1, 0, "unused:text"),
    ("special_tokens_in_text.jsonl", "demonstrations", "auto"): (
        "alpaca",
        2,
        0,
        "responses that end with a stop token as text",
    ),
    ("kto_int_label.jsonl", "demonstrations", "auto"): ("kto", 1, 1, "is false: a response that was disliked is no"),
    ("null_fields.jsonl", "demonstrations", "auto"): ("alpaca", 1, 0, ""),
    ("qwen_think.jsonl", "demonstrations", "auto"): ("sharegpt", 1, 0, ""),
    ("pandas_index.csv", "preferences", "auto"): ("trl", 1, 0, ""),
    ("pandas_index.csv", "preferences", "csv"): ("trl", 1, 0, ""),
    ("trailing_comma.csv", "preferences", "auto"): ("trl", 1, 0, ""),
    ("one_column.csv", "prompts", "auto"): ("alpaca", 2, 0, ""),
    ("one_column.csv", "prompts", "csv"): ("alpaca", 2, 0, ""),
    ("sep_line.csv", "preferences", "auto"): ("trl", 1, 0, ""),
    ("semicolon_bom.csv", "preferences", "auto"): ("trl", 1, 0, ""),
    ("cr_only.csv", "preferences", "auto"): ("trl", 1, 0, ""),
    ("cp1252.csv", "preferences", "auto"): ("auto", 0, 1, "holds a lone surrogate (U+DCC4) or a byte th"),
    ("utf16.csv", "preferences", "auto"): ("trl", 1, 0, "the file was read as UTF-16: 1"),
    ("csv_of_chats.csv", "preferences", "auto"): ("trl", 1, 0, ""),
    ("csv_empty_cells.csv", "preferences", "auto"): ("trl", 1, 1, "is empty; put the text here or leave the row"),
    ("pretty.json", "preferences", "auto"): ("trl", 1, 0, ""),
    ("concatenated.jsonl", "preferences", "auto"): ("trl", 2, 0, ""),
    ("wrapped_data.json", "preferences", "auto"): ("trl", 1, 0, ""),
    ("lone_surrogate.jsonl", "preferences", "auto"): ("trl", 1, 1, "holds a lone surrogate (U+D83D) or a byte th"),
    ("rtl_emoji.jsonl", "preferences", "auto"): ("trl", 1, 0, ""),
    ("huge_int.jsonl", "preferences", "auto"): ("auto", 0, 1, "holds a whole number of more than 4300 digit"),
    ("nan_score.jsonl", "preferences", "auto"): ("auto", 0, 1, "is not JSON: NaN is no number; use a finite "),
    ("mixed_types.jsonl", "demonstrations", "auto"): ("alpaca", 1, 1, "must be text, it is a number (42)"),
    ("mixed_layouts.jsonl", "demonstrations", "auto"): ("alpaca", 1, 1, "missing; one of output, response, answer, co"),
    ("nul.jsonl", "preferences", "auto"): ("auto", 0, 1, "holds a NUL character (U+0000); remove it"),
    ("pairs.parquet", "preferences", "auto"): ("trl", 1, 0, ""),
    ("pairs.arrow", "preferences", "auto"): ("trl", 1, 0, ""),
    ("pairs.zip", "preferences", "auto"): ("trl", 1, 0, "read from the zip archive: pairs.jsonl: 1"),
    ("pairs.jsonl.zst", "preferences", "auto"): ("auto", 0, 1, "is not JSON: Expecting value at column 1"),
}


def rows() -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((CASES / "CASES.json").read_text()) if CASES.is_dir() else []
    return found


def test_every_case_is_in_the_table() -> None:
    assert {(row["file"], row["as"], row["format"]) for row in rows()} == set(EXPECTED)


@pytest.mark.parametrize("case", EXPECTED, ids=" ".join)
def test_a_case(case: tuple[str, str, str]) -> None:
    name, kind, format = case
    layout, records, refused, word = EXPECTED[case]
    with (CASES / name).open("rb") as file:
        reading = Reading(file, kind, format)
        found = sum(1 for _ in reading)
    said = [refusal.message for refusal in reading.refusals] + reading.notes + [f"unused:{n}" for n in reading.unused]
    assert (reading.format, found, len(reading.refusals)) == (layout, records, refused), said
    assert not word or any(word in text for text in said)
