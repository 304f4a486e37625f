"""How many records of each group stay, and how much they count: drawn by a hash of the record."""

from __future__ import annotations

from collections import Counter

from alignment.shared.on_data.prepare import PrepareConfig
from alignment.shared.records import NO_SOURCE, Ranking, sha256_text, source_of
from workers.preparation.kinds import kind_of
from workers.preparation.quality import language_of
from workers.preparation.texts import Prepared, learnt_text, prompt_of

NONE = NO_SOURCE  # a record that says nothing of what is counted by


def group_of(record: Prepared, config: PrepareConfig) -> str:
    prompt = prompt_of(record)
    if config.cap_by == "criterion":
        return getattr(record, "criterion", None) or prompt.criterion or NONE
    if config.cap_by == "kind":
        return kind_of(prompt.request)
    if config.cap_by == "language":
        return prompt.language or language_of(learnt_text(record)) or NONE
    return source_of(record)


def draw(line: str, seed: int) -> float:
    """From 0 to 1, by the record and the seed alone."""
    return int(sha256_text(f"{seed} {line}")[:12], 16) / 16**12


class RecordDraws:
    """Those of records in their order. Records that are equal are drawn apart: else all of them went, or none."""

    def __init__(self, seed: int) -> None:
        self._seed, self._before = seed, Counter[str]()

    def __call__(self, line: str) -> tuple[float, float]:
        """For the cap, and for the share that is kept."""
        times = self._before[key := sha256_text(line)[:24]]
        self._before[key] += 1
        own = f"{times} {line}" if times else line
        return draw(own, self._seed), draw(own, self._seed + 1)


def limits(groups: dict[str, list[float]], cap: int) -> dict[str, float]:
    """The draw below which a record of a group stays."""
    return {name: sorted(draws)[cap] for name, draws in groups.items() if len(draws) > cap}


def weighted(record: Prepared, factor: float) -> Prepared:
    """A ranking counts times the factor; other records have no weight."""
    return record.model_copy(update={"weight": record.weight * factor}) if isinstance(record, Ranking) else record


def counted(groups: dict[str, list[float]]) -> dict[str, int]:
    return dict(Counter({name: len(draws) for name, draws in groups.items()}).most_common())
