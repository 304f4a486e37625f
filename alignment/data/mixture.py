"""Demonstrations of several sources in the shares that are asked for. A record's lineage says where it came from."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from alignment.shared.errors import BadInput
from alignment.shared.records import Demonstration, source_of
from alignment.shared.sentence import Sentence


def mixed(rows: Sequence[Demonstration], weights: Mapping[str, float], cap: int, seed: int) -> list[Demonstration]:
    """At most `cap` of each source (0: all), each as often as its source weighs: 2.5 is twice, and half of them thrice.

    What is left out or comes once more is drawn by `seed`. Raises BadInput for a source that has no rows.
    """
    found = by_source(rows)
    if unknown := sorted(set(weights) - set(found)):
        cause = Sentence(
            "no-such-source",
            "source_weights names %(unknown)s, of which there are no demonstrations.",
            unknown=f"{unknown[0]!r}",
        )
        raise BadInput(cause, Sentence("choose-of", "Choose of %(found)s.", found=", ".join(sorted(found))))
    rng, chosen = random.Random(seed), Counter[int]()
    for source in sorted(found):
        mine = [number for number, row in enumerate(rows) if source_of(row) == source]
        kept = sorted(rng.sample(mine, cap)) if cap and len(mine) > cap else mine
        whole, part = divmod(weights.get(source, 1.0), 1.0)
        chosen.update({number: int(whole) for number in kept})
        chosen.update(rng.sample(kept, round(part * len(kept))))
    return [row for number, row in enumerate(rows) for _ in range(chosen[number])]


def by_source(rows: Sequence[Demonstration]) -> dict[str, int]:
    return dict(Counter(source_of(row) for row in rows))
