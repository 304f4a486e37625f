"""The steps of a preparation, in their order: each takes a record and gives it back, changed, or says why it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from alignment.shared.errors import BadInput
from alignment.shared.on_data.prepare import PrepareConfig
from alignment.shared.records import Candidates, Demonstration, Prompt, Ranking
from alignment.shared.sentence import Sentence
from alignment.shared.stages import PrepareInputs
from workers.preparation import duplicates, personal, quality
from workers.preparation.report import StepReport
from workers.preparation.texts import Prepared, all_texts, learnt_text, rewritten

MASKED_ALIKE = "responses of different ranks read alike once masked"
HOLDS = "holds personal data"


@dataclass(frozen=True)
class LeftOut:
    reason: str


Step = Callable[[Prepared], Prepared | LeftOut]
S = TypeVar("S", bound=Step)


def record_of(line: str | bytes) -> Prepared:
    """A record of any kind, told by its fields."""
    for kind in (Ranking, Demonstration, Candidates, Prompt):
        try:
            return kind.from_line(line)
        except ValueError:
            continue
    raise BadInput(Sentence("row-of-no-kind", "A row is no prompt, demonstration, ranking or list of responses."))


def records_of(path: Path) -> Iterator[Prepared]:
    with path.open("rb") as file:
        yield from map(record_of, file)


def lines(record: Prepared) -> Prepared | LeftOut:
    if not isinstance(record, Demonstration):
        return record
    shorter = quality.without_repeated_lines(record.response)
    return record if shorter == record.response else rewritten(record, lambda _: shorter, responses_only=True)


def fit(config: PrepareConfig) -> Step:
    def step(record: Prepared) -> Prepared | LeftOut:
        reason = quality.unfit(learnt_text(record), config)
        return LeftOut(reason) if reason else record

    return step


def private(config: PrepareConfig) -> Step:
    masks = personal.Masks(config.personal_kinds)

    def step(record: Prepared) -> Prepared | LeftOut:
        kinds = {found.kind for text in all_texts(record) for found in personal.find(text, config.personal_kinds)}
        if not kinds:
            return record
        if config.personal == "leave_out":
            return LeftOut(f"{HOLDS}: {', '.join(sorted(kinds))}")
        try:
            return rewritten(record, masks)
        except ValueError:
            return LeftOut(MASKED_ALIKE)

    return step


def new(config: PrepareConfig) -> Step:
    known = duplicates.SeenBefore(_threshold(config))

    def step(record: Prepared) -> Prepared | LeftOut:
        reason = known.seen(record)
        return LeftOut(reason) if reason else record

    return step


def beside(path: Path, config: PrepareConfig, words: str, said: Callable[[Prepared], str]) -> Step:
    """Leaves out what another file holds."""
    others = duplicates.Others(map(said, records_of(path)), _threshold(config))

    def step(record: Prepared) -> Prepared | LeftOut:
        return LeftOut(words) if others.hold(said(record)) else record

    return step


def _threshold(config: PrepareConfig) -> float | None:
    return None if config.duplicates == "exact" else config.near_threshold


def steps_of(config: PrepareConfig, inputs: PrepareInputs) -> list[tuple[str, Step]]:
    """Those that the settings ask for, by name."""
    found: list[tuple[str, Step]] = []
    if config.repeated_lines:
        found.append(("repeated lines", lines))
    asks = config.min_characters or config.max_characters or config.languages
    if asks or config.max_repetition < 1 or config.max_symbols < 1:
        found.append(("quality", fit(config)))
    if config.personal != "keep":
        found.append(("personal data", private(config)))
    if config.duplicates != "keep":
        found.append(("duplicates", new(config)))
    if inputs.evaluation is not None:
        words = "asks what an evaluation prompt asks"
        found.append(("evaluation prompts", beside(inputs.evaluation, config, words, duplicates.asked)))
    if inputs.against is not None:
        found.append(("other data", beside(inputs.against, config, "is in the other data, too", duplicates.said)))
    return found


def apply(step: Step, report: StepReport, row: int, record: Prepared) -> Prepared | None:
    """The record after the step; None when it was left out."""
    report.before += 1
    after = step(record)
    if isinstance(after, LeftOut):
        report.leave_out(row, after.reason, learnt_text(record))
        return None
    if after is not record:
        before, now = next(
            ((a, b) for a, b in zip(all_texts(record), all_texts(after), strict=True) if a != b), ("", "")
        )
        report.change(row, before, now)
    return after
