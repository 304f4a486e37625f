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
        return kind_of(prompt.messages[-1].content)
    if config.cap_by == "language":
        return prompt.language or language_of(learnt_text(record)) or NONE
    return source_of(record)


def draw(line: str, seed: int) -> float:
    """From 0 to 1, by the record and the seed alone."""
    return int(sha256_text(f"{seed} {line}")[:12], 16) / 16**12


def limits(groups: dict[str, list[float]], cap: int) -> dict[str, float]:
    """The draw below which a record of a group stays."""
    return {name: sorted(draws)[cap] for name, draws in groups.items() if len(draws) > cap}


def weighted(record: Prepared, factor: float) -> Prepared:
    """A ranking counts times the factor; other records have no weight."""
    return record.model_copy(update={"weight": record.weight * factor}) if isinstance(record, Ranking) else record


def counted(groups: dict[str, list[float]]) -> dict[str, int]:
    return dict(Counter({name: len(draws) for name, draws in groups.items()}).most_common())
