"""What a run's reader is told of the rows that a reward model was given, by kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from alignment.shared.sentence import Sentence, counted

# Of the rows' number: for one, and for several.
SAID = {
    "shortened": (
        "had its prompt cut on the left to fit max_length.",
        "had their prompt cut on the left to fit max_length.",
    ),
    "refused": (
        "was left out: a response alone fills max_length.",
        "were left out: a response alone fills max_length.",
    ),
    "all_tied": ("was left out: it orders nothing.", "were left out: they order nothing."),
    "outvoted": (
        "was left out: the votes option gives it no weight.",
        "were left out: the votes option gives them no weight.",
    ),
    "repeated": ("holds a response twice; it is read once.", "hold a response twice; it is read once."),
    "cyclic": (
        "is of a task whose majority contradicts itself; every vote is used as it is.",
        "are of tasks whose majority contradicts itself; every vote is used as it is.",
    ),
}


def of(counts: Mapping[str, int], rows: int) -> Iterator[Sentence]:
    """A sentence for each kind that there is, with its code `rows-KIND`."""
    for kind, (one, more) in SAID.items():
        if counts[kind]:
            whole = "%(n)s of %(rows)s rows "
            yield counted(f"rows-{kind.replace('_', '-')}", whole + one, whole + more, n=counts[kind], rows=rows)
