"""Near-duplicates: precision and recall by language and kind of edit, on texts of ours."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from alignment.shared.records import Demonstration, Prompt
from workers.preparation.duplicates import SeenBefore, missed, rows_of_band

PRECISION, RECALL = 0.95, 0.9  # the floors
COUNT = 100  # texts of a language
PARTS = {
    "en": (
        ("In the early morning", "Late in the evening", "On a cold day in March", "After the long rain",
         "Before lunch"),
        ("the fishers of the village", "two children and their dog", "a tired postman", "the baker's wife",
         "our guide"),
        ("walked down to the harbour", "looked for a lost letter", "mended an old wooden boat", "sang about the sea"),
        ("while the wind turned north", "because nobody else would", "and laughed at the gulls",
         "without saying a word"),
        ("until the lamps were lit along the quay.", "and forgot what time it was.", "which they told us years later."),
    ),
    "zh": (
        ("清晨天还没有亮的时候", "傍晚的钟声敲过之后", "三月里一个寒冷的日子", "长长的雨季刚刚结束",
         "午饭之前的那段时间"),
        ("村子里的渔夫们", "两个孩子和他们的狗", "一位疲惫的老邮差", "面包师的妻子", "给我们带路的向导"),
        ("慢慢走到了港口边上", "到处寻找一封丢失的信", "修补一条旧木船", "唱起了关于大海的歌"),
        ("那时候风正转向北方", "因为没有别人愿意去做", "对着海鸥哈哈大笑", "从头到尾没有说一句话"),
        ("直到码头上的灯都点亮了。", "忘记了当时已经几点钟。", "这件事他们多年以后才告诉我们。"),
    ),
}  # fmt: skip


def texts(language: str, rng: random.Random) -> Iterator[str]:
    """Sentences of the same pieces, three a text: different texts share many words, and few runs of them."""
    gap = " " if language == "en" else "，"
    while True:
        yield gap.join(gap.join(map(rng.choice, PARTS[language])) for _ in range(3))


EDITS: dict[str, Callable[[str, random.Random], str]] = {
    "a sign more": lambda text, rng: text + "!",
    "a sign less": lambda text, rng: text[:-1],
    "a typing error": lambda text, rng: text[: (at := rng.randrange(5, len(text) - 5))] + text[at + 1 :],
    "words before": lambda text, rng: f"{'So: ' if text.isascii() else '话说'}{text}",
    "case and blanks": lambda text, rng: f"  {text.upper()}\n",
}


def measured(language: str) -> tuple[Counter[str], int, int]:
    """Edited texts that were found, by edit; other texts that were taken for duplicates, and how many there were."""
    rng = random.Random(7)
    source = texts(language, rng)
    found: Counter[str] = Counter()
    wrong = 0
    seen = SeenBefore(0.8)

    def is_seen(text: str) -> bool:
        return seen.seen(Demonstration(prompt=Prompt.from_text("Tell."), response=text)) is not None

    for _ in range(COUNT):
        text = next(source)
        wrong += is_seen(text)
        for name, edit in EDITS.items():
            found[name] += is_seen(edit(text, rng))
    return found, wrong, COUNT


def test_precision_and_recall_are_above_their_floors() -> None:
    print(f"\n{'':4}{'edit':20}{'recall':>8}")
    for language in ("zh", "en"):
        found, wrong, count = measured(language)
        for name in EDITS:
            print(f"{language:4}{name:20}{found[name] / count:8.3f}")
        precision = found.total() / (found.total() + wrong)
        print(f"{language:4}{'precision':20}{precision:8.3f}   ({wrong} of {count} other texts)")
        assert all(found[name] >= RECALL * count for name in EDITS), found
        assert precision >= PRECISION


@pytest.mark.parametrize(("threshold", "rows", "share"), [(0.5, 2, 1.0e-8), (0.8, 5, 4.89e-5), (0.95, 11, 9.58e-5)])
def test_bands_are_as_narrow_as_what_is_missed_allows(threshold: float, rows: int, share: float) -> None:
    assert rows_of_band(threshold) == rows
    assert missed(threshold, rows) == pytest.approx(share, rel=0.01)  # (1 - s^r)^b: of b bands of r hashes none agrees
    assert missed(threshold, rows) <= 1e-4 < missed(threshold, rows + 1)
