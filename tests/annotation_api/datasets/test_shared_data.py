"""The real samples at ../shared/data: each file is imported, or refused for the oddity that its README names.

Counts are the README's. Where the folder is absent the tests are skipped; test_formats.py covers
the same layouts with rows of our own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_api.datasets.files.source import Source
from annotation_api.datasets.formats.reading import Reading
from annotation_api.db.tables import DatasetRow, Role

DATA = Path(__file__).parents[4] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent: real samples are not tested")

# file, kind, layout, accepted, duplicates, rejected, a word of the first refusal
TABLE = [
    ("chat_oasst_trees_en", "rankings", "oasst", 171, 0, 0, ""),
    ("chat_oasst_trees_en", "conversations", "oasst", 79, 0, 0, ""),
    ("chat_sharegpt_vicuna_identity", "conversations", "sharegpt", 500, 0, 0, ""),
    ("chat_sharegpt_zh", "conversations", "sharegpt", 347, 0, 3, "empty"),
    ("pref_dpo_en", "preferences", "trl", 225, 3, 0, ""),
    ("pref_dpo_zh", "preferences", "trl", 234, 8, 0, ""),
    ("pref_dpo_medicalgpt_zh", "preferences", "trl", 397, 0, 0, ""),
    ("pref_hh_harmless_en", "preferences", "hh", 1797, 0, 7, "empty"),
    ("pref_kto_en", "demonstrations", "kto", 120, 0, 118, "disliked"),
    ("pref_kto_en", "preferences", "kto", 0, 0, 238, "compares nothing"),
    ("pref_pandalm_human_en", "preferences", "pandalm", 1892, 169, 31, "empty"),
    ("pref_style_en", "preferences", "trl", 897, 0, 0, ""),
    ("pref_tulu_human_en", "preferences", "tulu", 883, 5, 0, ""),
    ("prompts_belle_eval_zh", "prompts", "alpaca", 758, 0, 0, ""),
    ("prompts_belle_eval_zh", "demonstrations", "alpaca", 470, 0, 288, "empty"),
    ("prompts_mt_bench_en", "prompts", "questions", 80, 0, 0, ""),
    ("prompts_seed_tasks_en", "demonstrations", "questions", 175, 0, 0, ""),
    ("prompts_seed_tasks_zh", "prompts", "questions", 175, 0, 0, ""),
    ("prompts_user_oriented_en", "prompts", "questions", 176, 0, 0, ""),
    ("prompts_vicuna80_en", "prompts", "questions", 80, 0, 0, ""),
    ("rank_alpaca_eval_en", "rankings", "alpaca_eval", 2604, 16, 0, ""),
    ("rank_gpt4llm_format_en", "rankings", "gpt4llm", 524, 0, 0, ""),
    ("rank_gsm8k_solutions_en", "rankings", "graded", 450, 0, 0, ""),
    ("rank_llmzoo_en", "rankings", "llmzoo", 210, 0, 0, ""),
    ("rank_llmzoo_zh", "rankings", "llmzoo", 104, 0, 0, ""),
    ("rank_oasst_zh", "rankings", "oasst", 605, 0, 0, ""),
    ("sft_alpaca_en", "demonstrations", "alpaca", 4999, 0, 1, "empty"),
    ("sft_alpaca_gpt4_zh", "demonstrations", "alpaca", 798, 6, 0, ""),
    ("sft_belle_math_zh", "demonstrations", "alpaca", 795, 0, 0, ""),
    ("sft_belle_zh", "demonstrations", "alpaca", 815, 0, 0, ""),
    ("sft_dolly_en", "demonstrations", "alpaca", 1498, 2, 0, ""),
    ("sft_gsm8k_en", "demonstrations", "alpaca", 1193, 0, 0, ""),
    ("corpus_c4_en", "prompts", "auto", 0, 0, 1, "no known layout"),
]


@pytest.mark.parametrize(("name", "kind", "layout", "accepted", "duplicates", "rejected", "why"), TABLE)
def test_a_real_file(
    name: str, kind: str, layout: str, accepted: int, duplicates: int, rejected: int, why: str
) -> None:
    with (DATA / f"{name}.jsonl.gz").open("rb") as file:
        reading = Reading(file, kind)
        stored = sum(1 for _ in reading)
    assert (reading.format, stored, reading.duplicates, len(reading.refusals)) == (
        layout,
        accepted,
        duplicates,
        rejected,
    )
    if rejected:
        assert why in reading.refusals[0].message


def test_pandalm_refuses_25_empty_and_6_boolean_responses() -> None:
    with (DATA / "pref_pandalm_human_en.jsonl.gz").open("rb") as file:
        reading = Reading(file, "preferences")
        list(reading)
    reasons = [refusal.message for refusal in reading.refusals]
    assert (sum("empty" in r for r in reasons), sum("a boolean" in r for r in reasons)) == (25, 6)


def test_the_ties_that_the_readme_counts() -> None:
    ties = {}
    for name in ("rank_llmzoo_en", "rank_llmzoo_zh", "rank_gpt4llm_format_en"):
        with (DATA / f"{name}.jsonl.gz").open("rb") as file:
            records = [item.record.groups for item in Reading(file, "rankings")]  # type: ignore[attr-defined]
        ties[name] = (sum(any(len(g) > 1 for g in groups) for groups in records), sum(len(g) == 1 for g in records))
    assert ties["rank_llmzoo_en"] == (132, 28)
    assert ties["rank_llmzoo_zh"] == (100, 8)
    assert ties["rank_gpt4llm_format_en"][0] == 15  # 14 in the README, and one of identical answers graded differently


CORPORA = ["corpus_tinyshakespeare_en", "corpus_wiki_demo_en", "corpus_wikitext2_valid_en", "corpus_zh_mixed"]


def test_every_file_is_in_the_table_with_the_records_that_the_readme_counts() -> None:
    counted = dict(re.findall(r"^\| (\S+)\.jsonl\.gz \| (\d+) \|", (DATA / "README.md").read_text(), re.MULTILINE))
    assert {path.name for path in DATA.glob("*.gz")} == {f"{name}.jsonl.gz" for name in counted} | {
        f"{name}.txt.gz" for name in CORPORA
    }
    assert set(counted) == {line[0] for line in TABLE}
    for name, records in counted.items():
        with (DATA / f"{name}.jsonl.gz").open("rb") as file:
            assert sum(1 for _ in Source(file)) == int(records), name


def test_the_files_go_through_the_service_and_into_the_database(as_: Any, session: Session) -> None:
    """With --skip-bad; without it a file with a refused row stores nothing."""
    engineer = as_(Role.ENGINEER)
    print(f"\n{'file':34} {'as':15} {'layout':12} {'records':>8} {'same':>5} {'refused':>8}  first reason")
    for name, kind, layout, accepted, duplicates, rejected, _ in TABLE:
        form = {"kind": kind, "skip_bad": "true"}
        with (DATA / f"{name}.jsonl.gz").open("rb") as file:
            report = engineer.post("/v1/datasets", files={"file": (f"{name}.jsonl.gz", file)}, data=form).json()
        found = [report[field] for field in ("format", "accepted", "duplicates", "rejected")]
        reason = "{row} {field}: {message}".format(**report["errors"][0])[:100] if rejected else ""
        print(f"{name:34} {kind:15} {layout:12} {accepted:8} {duplicates:5} {rejected:8}  {reason}")
        assert found == [layout, accepted, duplicates, rejected], name
        stored = select(func.count()).select_from(DatasetRow).where(DatasetRow.dataset_id == report["dataset"])
        assert session.scalar(stored) == accepted
    with (DATA / "sft_alpaca_en.jsonl.gz").open("rb") as file:
        strict = engineer.post("/v1/datasets", files={"file": file}, data={"kind": "demonstrations"})
    assert (strict.status_code, strict.json()["rejected"], strict.json()["dataset"]) == (422, 1, None)


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_is_no_table(name: str) -> None:
    with (DATA / f"{name}.txt.gz").open("rb") as file:
        reading = Reading(file, "prompts")
        assert list(reading) == []
    assert "not JSON" in reading.refusals[0].message
