"""The work of a preparation: a file of records in, a file of those that stay, and a report of what went and why.

The source is never changed. `prepared.jsonl` becomes a data set only when somebody asks for it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alignment.shared.errors import BadInput
from alignment.shared.events import Meter, Paused, Reporter, StageResult
from alignment.shared.on_data.prepare import PrepareConfig
from alignment.shared.sentence import Sentence
from alignment.shared.stages import PrepareInputs
from workers.preparation import balance
from workers.preparation.lengths import TokenLengths, TokenMeasure
from workers.preparation.report import StepReport
from workers.preparation.steps import Step, apply, record_of, records_of, steps_of
from workers.preparation.texts import Prepared, learnt_text

PREPARED, REPORT, KEPT = "prepared.jsonl", "preparation.json", "kept.part"
TOLD = 1000  # records between two steps of progress


def prepare(
    config: PrepareConfig, inputs: PrepareInputs, out_dir: Path, reporter: Reporter, measure: TokenMeasure | None = None
) -> StageResult:
    """Raises BadInput when nothing stays."""
    steps = [(StepReport(name), step) for name, step in steps_of(config, inputs)]
    with inputs.records.open("rb") as file:
        total = sum(1 for _ in file)
    kept = out_dir / KEPT
    with kept.open("w", encoding="utf-8") as out:
        for row, record in _kept(steps, inputs.records, Meter(reporter, "prepare", total), reporter):
            out.write(json.dumps([row, record.canonical()], ensure_ascii=False) + "\n")
    reports = [report for report, _ in steps]
    groups: dict[str, int] = {}
    if config.cap or config.weights:
        reports.append(StepReport("balance"))
        groups = _balance(config, kept, out_dir / PREPARED, reports[-1])
    else:
        _plain(kept, out_dir / PREPARED)
    kept.unlink()
    after = total - sum(report.left_out.total() for report in reports)
    if not after:
        cause = Sentence("nothing-stays", "Nothing stays: every record is left out.")
        raise BadInput(
            Sentence("cause-and-reports", "%(cause)s %(reports)s", cause=cause, reports=_why(reports)),
            Sentence("ask-for-less", "Ask for less, then prepare the data again."),
        )
    told = {"before": total, "after": after, "steps": [report.as_dict() for report in reports], "groups": groups}
    if measure is not None:
        told["tokens"] = _lengths(measure, out_dir / PREPARED)
    (out_dir / REPORT).write_text(json.dumps(told, ensure_ascii=False, indent=1), "utf-8")
    changed = sum(report.changed for report in reports)
    metrics = {"before": float(total), "after": float(after), "changed": float(changed)}
    return StageResult("prepare", metrics, {"preparation": told})


def _lengths(measure: TokenMeasure, path: Path) -> dict[str, Any]:
    lengths = TokenLengths(measure)
    for record in records_of(path):
        lengths.add(record)
    return lengths.as_dict()


def _kept(
    steps: list[tuple[StepReport, Step]], path: Path, meter: Meter, reporter: Reporter
) -> Iterator[tuple[int, Prepared]]:
    row = 0
    for row, record in enumerate(records_of(path), start=1):
        left: Prepared | None = record
        for report, step in steps:
            if left is not None:
                left = apply(step, report, row, left)
        if left is not None:
            yield row, left
        if row % TOLD == 0:
            meter.step(by=TOLD)
            if reporter.paused():
                raise Paused("A preparation saves nothing on its way: it begins again, with the same outcome.")
    meter.step(by=row % TOLD)


def _plain(kept: Path, target: Path) -> None:
    with kept.open(encoding="utf-8") as file, target.open("w", encoding="utf-8") as out:
        out.writelines(json.loads(line)[1] + "\n" for line in file)


def _balance(config: PrepareConfig, kept: Path, target: Path, report: StepReport) -> dict[str, int]:
    """Caps and weights by group; the groups before, with how many records each had."""
    groups: dict[str, list[float]] = defaultdict(list)
    places: list[str] = []
    for _, line, record in _rows(kept):
        places.append(balance.group_of(record, config))
        groups[places[-1]].append(balance.draw(line, config.seed))
    limits = balance.limits(groups, config.cap) if config.cap else {}
    with target.open("w", encoding="utf-8") as out:
        for (row, line, record), group in zip(_rows(kept), places, strict=True):
            report.before += 1
            if reason := _too_many(config, line, record, group, limits):
                report.leave_out(row, reason, learnt_text(record))
                continue
            after = balance.weighted(record, config.weights.get(group, 1.0))
            report.changed += after is not record and after != record
            out.write(after.canonical() + "\n")
    return balance.counted(groups)


def _too_many(config: PrepareConfig, line: str, record: Prepared, group: str, limits: dict[str, float]) -> str | None:
    drawn = balance.draw(line, config.seed)
    if drawn >= limits.get(group, 2.0):
        return f"group {group} has more than {config.cap}"
    share = config.weights.get(group, 1.0)
    if not hasattr(record, "weight") and balance.draw(line, config.seed + 1) >= share:
        return f"group {group} counts {share:g}"
    return None


def _rows(kept: Path) -> Iterator[tuple[int, str, Prepared]]:
    with kept.open(encoding="utf-8") as file:
        for entry in file:
            row, line = json.loads(entry)
            yield row, line, record_of(line)


def _why(reports: list[StepReport]) -> str:
    reasons: list[Any] = [f"{n} {reason}" for report in reports for reason, n in report.left_out.most_common(3)]
    return "; ".join(reasons) + "." if reasons else ""
