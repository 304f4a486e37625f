"""What is asked, in English and Chinese, and how the answers are taken apart.

After Wang et al. 2023, with one departure: a task's input and output are asked for in one request, also of
classification tasks, as Stanford's Alpaca does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST = 20_000  # characters of an answer that are looked at
NO_INPUT = re.compile(r"\W*(?:no ?input|none|n/a|无输入?|没有输入|不需要输入)\W*", re.IGNORECASE)


@dataclass(frozen=True)
class Wording:
    ask: str  # {count} tasks come after {shown}
    task: str  # {number}
    case: str  # {instruction}
    number: re.Pattern[str]  # what stands before each task of an answer
    parts: re.Pattern[str]  # what an answer with input and output looks like
    impossible: frozenset[str]  # words of what a language model cannot do
    programs: re.Pattern[str]  # how too many of the instructions begin


WORDINGS = {
    "en": Wording(
        ask="Come up with a series of different tasks. Write only the instruction of each, one after another.\n\n"
        "{shown}\n",
        task="Task {number}:",
        case="Give one example of the task below: an input, if it needs one, and the correct output.\n\n"
        "Task: {instruction}\n\nWrite it as\nInput: ... (or <noinput>)\nOutput: ...",
        number=re.compile(r"(?i)(?:^|\n)[ \t]*(?:\*\*)?(?:Task[ \t]*)?\d{1,3}[ \t]*[.:)](?:\*\*)?[ \t]*"),
        parts=re.compile(r"(?is)(?:.*?\bInput\s*:\s*(?P<input>.*?))?\s*\bOutput\s*:\s*(?P<output>.+)"),
        impossible=frozenset({"image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map",
                              "maps", "draw", "plot", "go to", "video", "audio", "music", "flowchart", "diagram"}),
        programs=re.compile(r"write a program", re.IGNORECASE),
    ),
    "zh": Wording(
        ask="请想出一系列不同的任务。只写每个任务的指令，一个接一个。\n\n{shown}\n",
        task="任务{number}：",
        case="请为下面的任务举一个例子：如果需要输入就写出输入，再写出正确的输出。\n\n"
        "任务：{instruction}\n\n请写成\n输入：……（或<无输入>）\n输出：……",
        number=re.compile(r"(?:^|\n)[ \t]*(?:\*\*)?(?:任务[ \t]*)?\d{1,3}[ \t]*[.:：、)）](?:\*\*)?[ \t]*"),
        parts=re.compile(r"(?s)(?:.*?输入\s*[:：]\s*(?P<input>.*?))?\s*输出\s*[:：]\s*(?P<output>.+)"),
        impossible=frozenset({"图像", "图片", "图表", "照片", "文件", "地图", "画一",
                              "绘制", "视频", "音频", "音乐", "流程图", "链接"}),
        programs=re.compile(r"(?:写|编写)一?个?程序"),
    ),
}  # fmt: skip


def request(language: str, shown: Sequence[str]) -> str:
    """The tasks that are shown, numbered, and the number of the next: the answer goes on from it."""
    words = WORDINGS[language]
    lines = [f"{words.task.format(number=n)} {' '.join(task.split())}" for n, task in enumerate(shown, start=1)]
    return words.ask.format(shown="\n".join(lines)) + words.task.format(number=len(shown) + 1)


def instructions(language: str, answer: str) -> list[str]:
    """The tasks of an answer, which may begin in the middle of the first one, or with words that announce them."""
    parts = WORDINGS[language].number.split(answer[:LONGEST])
    found = [" ".join(part.split()).strip("* ") for part in parts]
    return [part for part in found if part and not part.endswith((":", "："))]


def case_request(language: str, instruction: str) -> str:
    return WORDINGS[language].case.format(instruction=instruction)


def case_of(language: str, answer: str) -> tuple[str, str] | None:
    """Input (empty where there is none) and output; None where the answer has another form, or says nothing."""
    match = WORDINGS[language].parts.fullmatch(answer[:LONGEST].strip())
    if match is None:
        return None
    given, output = (match["input"] or "").strip(), match["output"].strip()
    given = "" if NO_INPUT.fullmatch(given) else given
    return None if given == output or output.endswith((":", "：")) else (given, output)
