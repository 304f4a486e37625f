"""Which kind of task a prompt sets, told by its words in English and Chinese: enough for balance, no more.

The first kind whose words stand in the prompt's beginning is taken.
"""

from __future__ import annotations

import re

LOOKED_AT = 400  # characters
OTHER = "other"
KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(words, re.IGNORECASE))
    for name, words in (
        ("translate", r"\btranslat|翻译|译成|译为"),
        ("summarise", r"\bsummar|\btl;?dr\b|\bkey points\b|总结|摘要|概括"),
        ("code", r"```|\b(?:python|java(?:script)?|sql|html|css|c\+\+|function|code|regex)\b|代码|编程|函数|脚本"),
        (
            "maths",
            r"\b(?:calculate|solve|equation|how (?:many|much)|percent)\b|\d\s*[-+*/×÷=]\s*\d|计算|方程|多少|求解",
        ),
        ("classify", r"\bclassif|\bcategori[sz]e|\b(?:positive or negative|sentiment)\b|分类|判断|属于哪"),
        ("rewrite", r"\b(?:rewrite|rephrase|paraphrase|correct|edit|improve|shorten)\b|改写|润色|修改|纠正"),
        ("write", r"\b(?:write|compose|draft|create|generate)\b|写一|创作|起草|生成|编写"),
        (
            "list",
            r"\b(?:list|name|suggest|give (?:me )?(?:\w+ )?(?:examples|ideas|ways|tips))\b|列出|列举|举例|给出|建议",
        ),
        ("explain", r"\b(?:explain|describe|why|how|define|compare)\b|解释|说明|为什么|如何|怎么|怎样|介绍|描述|比较"),
        ("question", r"[?？]|\b(?:what|who|where|when|which|is|are|can|does)\b|什么|谁|哪|吗|是否"),
    )
)


def kind_of(text: str) -> str:
    beginning = text[:LOOKED_AT]
    return next((name for name, words in KINDS if words.search(beginning)), OTHER)
