"""Which tasks a record of a data set gives. Pure: records and a form in, planned tasks out.

A task is known by what it asks (data set, kind, prompt, texts, rule), so that the same content is
asked once, however often it stands in the file and however often the file is turned into tasks.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alignment.shared.records import Candidates, Demonstration, Prompt, Ranking, canonical_json, sha256_text
from alignment.shared.sentence import Sentence
from annotation_api.db.forms import QuestionsForm, RankingForm, RulesForm

LONGEST = 200_000  # characters of a response, as for tasks that are sent one by one

ONE_TEXT = Sentence("fewer-than-two", "fewer than two different responses")
EMPTY = Sentence("response-empty", "a response is empty")
TOO_LONG = Sentence("response-longer", "a response is longer than %(longest)s characters", longest=LONGEST)
CALLS = Sentence("response-calls-tool", "the response calls a tool; only texts can be judged")
KNOWN = Sentence("already-a-task", "already a task of this project")


@dataclass(frozen=True)
class Plan:
    """A task to be: the texts that it shows and, of a probe, its rule."""

    prompt: Prompt
    texts: tuple[str, ...]
    rule: str | None = None
    of: tuple[str, ...] = ()  # all texts, when `texts` were drawn from more

    def key(self, space: uuid.UUID) -> uuid.UUID:
        """The same for the same content; `space` stands for project, data set and kind."""
        texts = sorted(map(sha256_text, self.of or self.texts))
        return uuid.uuid5(space, canonical_json([self.prompt.key, texts, self.rule]))


@dataclass(frozen=True)
class Skipped:
    """A task that cannot be, and why."""

    reason: str


def plans_of(
    record: Ranking | Candidates | Demonstration, form: RankingForm | QuestionsForm | RulesForm, most: int
) -> Iterator[Plan | Skipped]:
    """The tasks of one record: an order of up to `most` responses, a pair, or each response by itself."""
    if isinstance(record, Demonstration) and record.tool_calls:
        yield Skipped(CALLS)
        return
    texts = (record.response,) if isinstance(record, Demonstration) else record.responses
    distinct = tuple(dict.fromkeys(texts))
    pair = isinstance(form, QuestionsForm) and form.about == "pair"
    if isinstance(form, RankingForm) or pair:
        yield _together(record.prompt, distinct, 2 if pair else most)
        return
    for text in distinct:
        if reason := _unfit(text):
            yield Skipped(reason)
        elif isinstance(form, RulesForm) and form.probe:
            yield from (Plan(record.prompt, (text,), rule.id) for rule in form.rules)
        else:
            yield Plan(record.prompt, (text,))


def _together(prompt: Prompt, texts: tuple[str, ...], most: int) -> Plan | Skipped:
    """One task of all the texts; of more than `most` a draw that depends on prompt and texts alone."""
    if reason := next(filter(None, map(_unfit, texts)), None):
        return Skipped(reason)
    if len(texts) < 2:
        return Skipped(ONE_TEXT)
    if len(texts) <= most:
        return Plan(prompt, texts)
    seed = sha256_text(canonical_json([prompt.key, sorted(map(sha256_text, texts))]))
    return Plan(prompt, _draw(texts, most, seed), of=texts)


def _draw(texts: Sequence[str], most: int, seed: str) -> tuple[str, ...]:
    """`most` of the texts, in the order in which they stand."""
    return tuple(texts[place] for place in sorted(random.Random(seed).sample(range(len(texts)), most)))


def _unfit(text: str) -> str | None:
    if not text.strip():
        return EMPTY
    return TOO_LONG if len(text) > LONGEST else None
