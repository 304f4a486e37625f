"""The words of the pages: English sentences in the templates, their Chinese in locales/zh.*.json.

A template writes `{{ _("rows: %(n)s", n=rows) }}`. The language is the page's: `render` sets it
for the time of the rendering, so that macros and filters know it, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import escape
from starlette.requests import Request

from alignment.shared.sentence import Sentence, joined
from annotation_api.db.tables import Person
from annotation_api.jobs.comparison.jobs import ALL_PROMPTS

LOCALES = Path(__file__).parents[1] / "locales"
LANGUAGES = {"en": "English", "zh": "中文"}  # each in its own words
TAGS = {"en": "en", "zh": "zh-Hans"}  # of <html lang>
COOKIE = "rankloop_language"
# Values that are words of the pages, by the code of their sentence; and what the pages say for some of them.
NAMED = {"not-found": "what", "order-apart": "criterion", "letter-placed": "place", "stage-and-message": "stage"}
SAY = {"reward": "Reward model"}

_current: ContextVar[str] = ContextVar("language", default="en")


def language_of(request: Request, person: Person | None) -> str:
    """What the person chose; else this browser's choice; else what it asks for; else English."""
    for choice in (person.language if person else None, request.cookies.get(COOKIE)):
        if choice in LANGUAGES:
            return choice
    return asked_for(request.headers.get("accept-language", ""))


def asked_for(header: str) -> str:
    """The best language of an Accept-Language header: `zh-CN,zh;q=0.9,en;q=0.8` -> zh."""
    best, best_weight = "en", 0.0
    for part in header[:500].split(","):
        tag, _, weight = part.partition(";")
        language, found = tag.strip().lower().split("-")[0], _weight(weight)
        if language in LANGUAGES and found > best_weight:
            best, best_weight = language, found
    return best


def _weight(text: str) -> float:
    name, _, value = text.strip().partition("=")
    try:
        return float(value) if name == "q" else 1.0
    except ValueError:
        return 0.0


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """The language of `_` and of the filters inside."""
    token = _current.set(language)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> str:
    return _current.get()


def translate(sentence: str, **values: object) -> str:
    """The sentence in the current language, its %(name)s filled in and escaped; unknown sentences stay English.

    With values the result is safe markup: a value that is Markup stays, anything else is escaped.
    A service's own sentence is known by its code in said.*.json, and brings its values.
    """
    if isinstance(sentence, Sentence):
        return _said(sentence)
    found = words(current()).get(sentence, sentence)
    return escape(found) % values if values else found


def _said(sentence: Sentence) -> str:
    """What a service said, in the current language; its values are text, and may be sentences of their own. English
    where they are not what the catalogue fills in: a sentence that an older version stored, or that somebody typed."""
    text = said(current()).get(sentence.code)
    if text is None:
        return str(sentence)
    inner = {name: _said(value) if isinstance(value, Sentence) else value for name, value in sentence.values.items()}
    try:
        if name := NAMED.get(sentence.code):
            inner[name] = _named(str(inner[name]))
        return text % inner
    except (KeyError, TypeError, ValueError):
        return str(sentence)


def _named(word: str) -> str:
    return words(current()).get(SAY.get(word, word), word)


def why_it_ended(error: Mapping[str, Any]) -> tuple[str, str]:
    """The cause and the next step of a job's error, in the current language."""
    cause, step = error.get("said") or (error.get("cause") or "", error.get("next_step") or "")
    return translate(joined(cause)), translate(joined(step))


def told(data: Mapping[str, Any], key: str, retold: Mapping[str, str] | None = None) -> str:
    """What an event says under `key`, in the current language; one from before codes were kept as it is, unless
    `retold` knows its words."""
    words = str(data.get(key, ""))
    return translate(joined(data.get("said")) or (retold or {}).get(words, words))


@cache
def said(language: str) -> Mapping[str, str]:
    """The services' sentences in the language, by their codes."""
    path = LOCALES / f"said.{language}.json"
    texts: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return texts


def metric(name: str) -> str:
    """What a job measures, in words of the current language; its own name, spaced, where the language has none.

    What stands in brackets, a criterion, is the data's own word, unless there is none.
    """
    name, bracket, criterion = name.partition(" (")
    raw = name.replace(" ", "_")
    if criterion == f"{ALL_PROMPTS})":
        criterion = f"{translate(ALL_PROMPTS)})"
    return metrics(current()).get(raw, raw.replace("_", " ")) + bracket + criterion


def metrics_known() -> Mapping[str, str]:
    """The words for a script, which spaces the names of the others itself."""
    return metrics(current())


@cache
def metrics(language: str) -> Mapping[str, str]:
    """Words for the names of metrics; English needs none."""
    path = LOCALES / f"metrics.{language}.json"
    texts: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return texts


@cache
def words(language: str) -> Mapping[str, str]:
    """All catalogues of a language, merged; English needs none."""
    merged: dict[str, str] = {}
    for path in sorted(LOCALES.glob(f"{language}*.json")):
        merged |= json.loads(path.read_text("utf-8"))
    return merged
