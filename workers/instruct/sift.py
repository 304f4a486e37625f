"""Which instructions are taken: the published filters on length, wording and likeness.

Likeness is ROUGE-L's F-measure: twice the longest common subsequence over both lengths, which is what
rapidfuzz's normalised Indel similarity says of two sequences. Tokens are words without case; in Chinese, characters.
"""

from __future__ import annotations

import unicodedata

from rapidfuzz import process
from rapidfuzz.distance import Indel

from alignment.shared.config import InstructConfig
from workers.instruct.wording import WORDINGS
from workers.preparation.texts import tokens

LIKE = "is like an earlier instruction"
SHORT, LONG, WORDS = "is too short", "is too long", "asks for what a language model cannot do"
PROGRAM, START = "asks for a program, as too many do", "begins with a sign, not a word"
SURROGATES = range(0xD800, 0xE000)


def likeness(one: str, other: str) -> float:
    """ROUGE-L of two texts."""
    library = Library(0.0)
    return float(Indel.normalized_similarity(library.coded(one), library.coded(other)))


class Library:
    """The instructions so far. Each token is written as one sign, for comparing whole tokens fast."""

    def __init__(self, most: float) -> None:
        self._most = most
        self._signs: dict[str, str] = {}
        self._texts: list[str] = []

    def coded(self, text: str) -> str:
        return "".join(self._signs.setdefault(token, _sign(len(self._signs))) for token in tokens(text))

    def holds_like(self, text: str) -> bool:
        """Whether one is as like as that, or more."""
        found = process.extractOne(
            self.coded(text), self._texts, scorer=Indel.normalized_similarity, score_cutoff=self._most
        )
        return found is not None

    def keep(self, text: str) -> None:
        self._texts.append(self.coded(text))


def _sign(number: int) -> str:
    """The number as one character; those that stand for halves of others are passed over."""
    code = number + 0x21
    return chr(code if code < SURROGATES.start else code + len(SURROGATES))


def unfit(text: str, config: InstructConfig) -> str | None:
    """Why an instruction is left out, its likeness aside."""
    words, count = WORDINGS[config.language], len(tokens(text))
    if count < config.min_tokens:
        return SHORT
    if count > config.max_tokens:
        return LONG
    if _asks_for(text, config.keywords if config.keywords is not None else words.impossible, config.language):
        return WORDS
    if words.programs.match(text):
        return PROGRAM
    return None if unicodedata.category(text[0])[0] in "LN" else START


def _asks_for(text: str, keywords: list[str] | frozenset[str], language: str) -> bool:
    """Whole words in English; Chinese has no blanks between them."""
    if language == "zh":
        return any(word in text for word in keywords)
    said = f" {' '.join(tokens(text))} "
    return any(f" {' '.join(tokens(word))} " in said for word in keywords)
