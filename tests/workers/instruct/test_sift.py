"""ROUGE-L on pairs worked out by hand, in English and Chinese, and the other filters."""

from __future__ import annotations

import pytest

from alignment.shared.config import InstructConfig
from workers.instruct import sift, wording

DUPLICATES = [  # pairs of instructions that say the same, nearly
    ("把下面的句子翻译成英文。", "请把下面的句子翻译成英文"),
    ("写一首关于秋天的诗", "请写一首关于秋天的诗歌"),
    ("给出下面词语的同义词", "请给出下面词语的同义词。"),
    ("解释什么是光合作用", "请解释一下什么是光合作用"),
    ("列出五种减少塑料垃圾的方法", "列出三种减少塑料垃圾的方法"),
    ("Translate the sentence below into French.", "Translate the sentence here into French."),
    ("List five ways to save water at home.", "List three ways to save water at home."),
]
DIFFERENT = [
    ("把下面的句子翻译成英文。", "写一首关于秋天的诗"),
    ("给出下面词语的同义词", "给出下面段落的摘要和标题"),
    ("解释什么是光合作用", "解释为什么天空是蓝色的"),
    ("List five ways to save water at home.", "Explain how rain forms in three sentences."),
]


def test_rouge_l_by_hand() -> None:
    # "a b c d" and "a c d e": the longest common subsequence is "a c d", so 2 * 3 / (4 + 4)
    assert sift.likeness("a b c d", "a c d e") == pytest.approx(0.75)
    # Characters are tokens: two of them are common to four and two
    assert sift.likeness("写一首诗", "写诗") == pytest.approx(4 / 6)
    assert sift.likeness("One, two!", "one two") == 1.0
    assert sift.likeness("one", "two") == 0.0


@pytest.mark.parametrize(("one", "other"), DUPLICATES)
def test_duplicates_are_alike(one: str, other: str) -> None:
    library = sift.Library(0.7)
    library.keep(one)
    assert library.holds_like(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_ones_are_not(one: str, other: str) -> None:
    library = sift.Library(0.7)
    library.keep(one)
    assert not library.holds_like(other)


def test_many_tokens_are_signs_of_their_own() -> None:
    library = sift.Library(0.7)
    coded = {library.coded(f"token{number}") for number in range(60_000)}
    assert len(coded) == 60_000
    assert all(len(sign) == 1 and not 0xD800 <= ord(sign) < 0xE000 for sign in coded)


@pytest.mark.parametrize(
    ("text", "language", "why"),
    [
        ("Explain rain.", "en", sift.SHORT),
        ("word " * 151, "en", sift.LONG),
        ("Draw a picture of a river at night.", "en", sift.WORDS),
        ("Go to the page and read it out.", "en", sift.WORDS),
        ("Write a program that sorts numbers.", "en", sift.PROGRAM),
        ("*** Explain how rain forms today", "en", sift.START),
        ("Explain the geography of a coast.", "en", None),  # no whole word of the list
        ("翻译", "zh", sift.SHORT),
        ("描述这张图片里的内容", "zh", sift.WORDS),
        ("编写一个程序来排序", "zh", sift.PROGRAM),
        ("解释什么是光合作用", "zh", None),
    ],
)
def test_filters(text: str, language: str, why: str | None) -> None:
    assert sift.unfit(text, InstructConfig.model_validate({"language": language})) == why


@pytest.mark.parametrize(
    ("language", "answer", "found"),
    [
        ("en", " Explain rain.\nTask 10: List five\ntrees.\nTask 11:", ["Explain rain.", "List five trees."]),
        ("en", "Sure, here are some tasks:\n\n1. Explain rain.\n2) **List trees.**", ["Explain rain.", "List trees."]),
        ("zh", "好的，以下是任务：\n任务9：解释雨\n任务10：列出五种树", ["解释雨", "列出五种树"]),
    ],
)
def test_tasks_of_an_answer(language: str, answer: str, found: list[str]) -> None:
    assert wording.instructions(language, answer) == found


@pytest.mark.parametrize(
    ("language", "answer", "case"),
    [
        ("en", "Input: <noinput>\nOutput: Rain.", ("", "Rain.")),
        ("en", "Sure!\nInput: a\nb\nOutput: c\nd", ("a\nb", "c\nd")),
        ("en", "Output: x", ("", "x")),
        ("en", "It rains.", None),
        ("en", "Input: x\nOutput: x", None),
        ("en", "Output: as follows:", None),
        ("zh", "输入：<无输入>\n输出：雨", ("", "雨")),
        ("zh", "输入: 夏天\n输出: 诗", ("夏天", "诗")),
    ],
)
def test_cases_of_an_answer(language: str, answer: str, case: tuple[str, str] | None) -> None:
    assert wording.case_of(language, answer) == case
