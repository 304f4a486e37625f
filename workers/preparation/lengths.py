"""How long records are for a model: tokens by language, fertility, and the share that its context does not hold."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from workers.preparation.texts import Prepared, all_texts, is_chinese, prompt_of, prompt_texts, tokens

BATCH = 256  # records that are counted together
OTHER = "other"


@dataclass(frozen=True)
class TokenMeasure:
    """A model's tokenizer: how many tokens each text has, and how many the model reads at once."""

    count: Callable[[list[str]], list[int]]
    context: int | None


def language_of(record: Prepared) -> str:
    """What the prompt says, else Chinese by its characters."""
    texts = all_texts(record)
    return prompt_of(record).language or ("zh" if is_chinese("".join(texts)) else OTHER)


class TokenLengths:
    """Counts of the records that stay; a ranking counts its prompt with its longest response."""

    def __init__(self, measure: TokenMeasure) -> None:
        self._measure = measure
        self._waiting: list[Prepared] = []
        self._tokens: dict[str, list[int]] = defaultdict(list)  # of each record
        self._all: dict[str, int] = defaultdict(int)  # tokens of all texts
        self._words: dict[str, int] = defaultdict(int)

    def add(self, record: Prepared) -> None:
        self._waiting.append(record)
        if len(self._waiting) == BATCH:
            self._count()

    def _count(self) -> None:
        texts = [all_texts(record) for record in self._waiting]
        counts = iter(self._measure.count([text for of_one in texts for text in of_one]))
        for record, of_one in zip(self._waiting, texts, strict=True):
            lengths, language = [next(counts) for _ in of_one], language_of(record)
            turns = len(prompt_texts(prompt_of(record)))
            self._tokens[language].append(sum(lengths[:turns]) + max(lengths[turns:], default=0))
            self._all[language] += sum(lengths)
            self._words[language] += sum(len(tokens(text)) for text in of_one)
        self._waiting.clear()

    def as_dict(self) -> dict[str, Any]:
        """Percentiles are of whole records, without what a chat template adds."""
        self._count()
        together = [length for lengths in self._tokens.values() for length in lengths]
        groups = {
            language: self._of(lengths, self._all[language] / max(1, self._words[language]))
            for language, lengths in sorted(self._tokens.items())
        }
        return {"context": self._measure.context, "over": self._over(together), "languages": groups}

    def _of(self, lengths: list[int], fertility: float) -> dict[str, float]:
        """`fertility`: tokens of a word; of Chinese, of a character."""
        twentieths = statistics.quantiles(lengths, n=20, method="inclusive") if len(lengths) > 1 else lengths * 19
        return {
            "records": len(lengths),
            "median": statistics.median(lengths),
            "p95": twentieths[18],
            "longest": max(lengths),
            "fertility": round(fertility, 3),
            "over": self._over(lengths),
        }

    def _over(self, lengths: Iterable[int]) -> float:
        found = list(lengths)
        over = sum(length > self._measure.context for length in found) if self._measure.context else 0
        return round(over / max(1, len(found)), 4)
