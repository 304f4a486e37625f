"""Which words two texts do not share, for replies side by side. Pure; a template marks and escapes them."""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

WORD = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[^\w\s]")  # CJK by character
MOST = 2000  # words of a text that are compared; comparing takes their product at worst


class Stretch(NamedTuple):
    """A stretch of a text."""

    text: str
    own: bool  # the other text does not have it


def differing(before: str, after: str) -> tuple[list[Stretch], list[Stretch]]:
    """Both texts in stretches; together they give each text back unchanged."""
    old, new = WORD.findall(before), WORD.findall(after)
    if max(len(old), len(new)) > MOST or before == after:
        return [Stretch(before, False)], [Stretch(after, False)]
    left, right = list[Stretch](), list[Stretch]()
    for same, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if a < b:
            left.append(Stretch("".join(old[a:b]), same != "equal"))
        if c < d:
            right.append(Stretch("".join(new[c:d]), same != "equal"))
    return left, right
