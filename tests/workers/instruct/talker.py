"""Who answers as a model would: with tasks that go on from those that were shown, some of them of no use."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

VERBS = ("Explain", "Describe", "Compare", "Summarise", "Translate", "Rewrite", "Classify", "Improve")
THINGS = ("a river", "an old bridge", "the night sky", "two proverbs", "a recipe", "the news of a town", "a law")
HOW = ("for a child", "in one sentence", "with an example", "as a letter", "step by step", "without numbers")
ZH = (("解释", "描述", "比较", "总结", "翻译", "改写"), ("一条河流", "一座老桥", "夜里的星空", "两句谚语", "一道菜谱"),
      ("给孩子听", "用一句话", "并且举例", "写成书信", "不用数字"))  # fmt: skip


class Talker:
    """The same request gets the same answer."""

    name = "talker"

    def __init__(self, language: str = "en") -> None:
        self._zh, self.turns = language == "zh", list[int]()

    def __call__(self, requests: Sequence[str], turn: int) -> list[str]:
        self.turns.append(turn)
        return [self._answer(request) for request in requests]

    def _answer(self, request: str) -> str:
        digest = hashlib.sha256(request.encode()).hexdigest()
        rng = random.Random(digest)
        if request.rstrip()[-1] not in ":：":  # an example of one task
            zh, en = f"输入：<无输入>\n输出：答案{digest[:8]}", f"Input: <noinput>\nOutput: Answer {digest[:8]}"
            return zh if self._zh else en
        if self._zh:
            tasks = ["".join(map(rng.choice, ZH)) for _ in range(4)]
            return "\n".join(f"任务{n}：{task}" for n, task in enumerate([*tasks, "画一张地图给我看"], start=9))
        tasks = [f"{rng.choice(VERBS)} {rng.choice(THINGS)} {rng.choice(HOW)}." for _ in range(4)]
        return "\n".join(f"Task {n}: {task}" for n, task in enumerate([*tasks, "Draw a map of the coast."], start=9))
