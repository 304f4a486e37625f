"""The Chinese catalogues: whole, in the signs of Chinese, with one word for one thing, and numbers left as they are."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from alignment.shared.config import CONFIGS, Stage
from alignment.shared.stages import inputs_of
from annotation_api.jobs.settings_form import UNITS, fields_of
from annotation_api.web.markup.language import LOCALES, metric, speaking, translate, words
from annotation_api.web.markup.rendering import _coded
from tests.support import house

CATALOGUES = sorted(path for path in LOCALES.glob("*.json") if "zh" in path.name.split("."))
SETTINGS = json.loads((LOCALES / "zh.settings.json").read_text("utf-8"))
# What is no sentence's own sign: blanks, code, calls.
NOT_TEXT = re.compile(r"%\(\w+\)s|`[^`]*`|<code>.*?</code>|\w+\(\)")
HALF = re.compile(
    r"(?:[\u3400-\u9fff，。；：！？、”）] ?[,:;!?()])|(?:[,:;!?()] ?[\u3400-\u9fff（“])|[\u3400-\u9fff]\.(?:\s|$)"
)
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NAME = re.compile(r"`[^`]+`|'[a-z]+'|\b[a-zA-Z]\w*_\w+|\b[A-Z]{2,}(?=s?\b)")


def described() -> Iterator[str]:
    """What the forms of all stages say of their settings and inputs."""
    for stage in Stage:
        yield from (field.about for field in fields_of(stage, CONFIGS[stage]().model_dump(mode="json")).values())
        yield from (asked.description for asked in inputs_of(stage).values() if asked.description)


def test_every_setting_of_every_stage_is_described_in_chinese_and_nothing_else_is() -> None:
    assert {about for about in described() if about} == set(SETTINGS)
    assert all(field.about for stage in Stage for field in fields_of(stage, {}).values())


@pytest.mark.parametrize("kind", [NUMBER, NAME], ids=["numbers", "names"])
def test_numbers_and_names_are_the_same_in_both_languages(kind: re.Pattern[str]) -> None:
    both = {
        english: (Counter(kind.findall(english)), Counter(kind.findall(text))) for english, text in SETTINGS.items()
    }
    assert {english: sides for english, sides in both.items() if sides[0] != sides[1]} == {}


def test_units_and_bounds_are_words_of_the_language() -> None:
    bounds = {word for stage in Stage for field in fields_of(stage, {}).values() for word, _ in field.bounds}
    with speaking("zh"):
        assert [unit for unit in UNITS.values() if translate(unit) == unit] == []
        assert [word for word in bounds if translate(f"{word} %(n)s", n=1) == f"{word} 1"] == []


def test_signs_between_chinese_are_full_width() -> None:
    found = [
        f"{path.name}: {text}"
        for path in CATALOGUES
        for text in json.loads(path.read_text("utf-8")).values()
        if HALF.search(NOT_TEXT.sub("X", text))
    ]
    assert found == []


def english() -> Iterator[tuple[str, str]]:
    """Every sentence with its Chinese: those of the pages, and those that the services say by a code."""
    yield from words("zh").items()
    said = json.loads((LOCALES / "said.zh.json").read_text("utf-8"))
    for path in house.files(*house.PACKAGES):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Sentence":
                texts = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
                yield from ((text, said[texts[0]]) for text in texts[1:])


def test_a_job_is_no_task() -> None:
    """任务 is what annotators are given; what the machines run is 作业."""
    job, task = re.compile(r"\bjobs?\b", re.IGNORECASE), re.compile(r"\btasks?\b", re.IGNORECASE)
    for sentence, text in english():
        if job.search(sentence) and not task.search(sentence):
            assert "任务" not in text, sentence
        if task.search(sentence) and not job.search(sentence):
            assert "作业" not in text, sentence


def test_the_gain_of_a_criterion_keeps_the_criterions_name() -> None:
    with speaking("zh"):
        assert metric("score_gain (colour)") == "分数增益 (colour)"
    with speaking("en"):
        assert metric("score_gain (colour)") == "score gain (colour)"


def test_names_in_a_sentence_are_code_and_all_else_is_escaped() -> None:
    assert _coded("needed where `ptx_coef` is <b>") == "needed where <code>ptx_coef</code> is &lt;b&gt;"
