"""Whether a text is fit to be learnt from: length, repetition, symbols, language."""

from __future__ import annotations

import functools
import unicodedata
from typing import Any

from alignment.shared.errors import BadInput
from alignment.shared.on_data.prepare import PrepareConfig
from alignment.shared.sentence import Sentence
from workers.preparation.texts import tokens

RUN = 5  # tokens
CODE_ENDS = frozenset("{}[]();,:")
SHORTEST_RUN = 20  # tokens of a text in which repetition says anything
NO_SYMBOLS = frozenset("\"'.,;:!?()-%/")
SHOWN_LANGUAGE = 1000  # characters that the language is told by


def repetition(text: str) -> float:
    """The share of runs of five tokens that stand in the text before."""
    found = tokens(text)
    if len(found) < SHORTEST_RUN:
        return 0.0
    runs = [tuple(found[i : i + RUN]) for i in range(len(found) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs)


def symbols(text: str) -> float:
    """The share of characters that are neither letters, digits, blanks nor common punctuation."""
    marks = sum(_is_symbol(character) for character in text)
    return marks / len(text) if text else 0.0


def _is_symbol(character: str) -> bool:
    if character.isalnum() or character.isspace() or character in NO_SYMBOLS:
        return False
    category = unicodedata.category(character)
    return category[0] == "S" or category == "Co" or character in "#*_~^|\\{}[]<>@&"


def _is_code(line: str) -> bool:
    """Whether the line is indented, or ends as lines of programs do: there the same line again says something new."""
    return line[:1].isspace() or line.rstrip()[-1:] in CODE_ENDS


def without_repeated_lines(text: str) -> str:
    """The text without lines that stand in it before; blank lines, lines without letters, and code stay."""
    seen: set[str] = set()
    kept = []
    for line in text.split("\n"):
        key = line.strip()
        if key and any(character.isalpha() for character in key) and not _is_code(line):
            if key in seen:
                continue
            seen.add(key)
        kept.append(line)
    return "\n".join(kept)


@functools.cache
def _detector() -> Any:
    try:
        from lingua import Language, LanguageDetectorBuilder
    except ImportError:
        cause = Sentence("no-lingua", "languages needs the detector lingua, which is not installed here.")
        step = Sentence(
            "no-lingua-next", "Install it on the machine of the dispatcher: pip install 'rankloop[languages]'."
        )
        raise BadInput(cause, step) from None
    names = (
        "ENGLISH CHINESE JAPANESE KOREAN GERMAN FRENCH SPANISH PORTUGUESE ITALIAN DUTCH RUSSIAN UKRAINIAN POLISH "
        "ARABIC TURKISH VIETNAMESE THAI INDONESIAN HINDI SWEDISH GREEK HEBREW CZECH"
    )
    return LanguageDetectorBuilder.from_languages(*(getattr(Language, name) for name in names.split())).build()


def language_of(text: str) -> str | None:
    """ISO 639-1; None where nothing speaks for one."""
    found = _detector().detect_language_of(text[:SHOWN_LANGUAGE])
    return None if found is None else str(found.iso_code_639_1.name).lower()


def unfit(text: str, config: PrepareConfig) -> str | None:
    """Why the text is left out; None: it is fit."""
    if len(text) < config.min_characters:
        return f"is shorter than {config.min_characters} characters"
    if config.max_characters and len(text) > config.max_characters:
        return f"is longer than {config.max_characters} characters"
    if config.max_repetition < 1 and repetition(text) > config.max_repetition:
        return "repeats itself"
    if config.max_symbols < 1 and symbols(text) > config.max_symbols:
        return "holds many symbols"
    if config.languages and (found := language_of(text)) not in config.languages:
        return f"is in another language ({found or 'unknown'})"
    return None
