"""A reward model's one-page report: measured, put into words, plotted, beside the model's weights.

    from alignment.reward.report import page as reward_report
    report = reward_report.write(out_dir, reward_report.Judged(heldout, train, score))
    report["metrics"]  # flat numbers for the stage's result; the gate reads the same

`reward_report.json` holds the numbers and words, `reward_report.html` is what a person opens: it needs no
other file, runs no script, and escapes every text that came from data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes

from alignment import plots
from alignment.reward.report.advice import advise
from alignment.reward.report.measures import ReportData, measure
from alignment.reward.report.probes import SAYS
from alignment.reward.report.remarks import Remark, sure
from alignment.shared.gate import PAGE, REPORT
from alignment.shared.records import storable

__all__ = ["ReportData", "write"]

HEADLINES = {
    "bad": "Do not optimise against this reward model",
    "warn": "This reward model knows a little",
    "note": "This reward model can be trusted for small steps",
    "good": "This reward model can be optimised against",
}
MOST_PEOPLE = 40  # annotators in a table or plot; the worst of more


def write(out_dir: Path, judged: ReportData) -> dict[str, Any]:
    """Measure, and write report and page into `out_dir`; the report, with its `words` and flat `metrics`."""
    report = measure(judged)
    words = advise(report)
    report["words"] = [asdict(word) for word in words]
    (out_dir / REPORT).write_text(
        json.dumps(storable(report), ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )
    (out_dir / PAGE).write_text(page(report, words), encoding="utf-8")
    return report


def page(report: Mapping[str, Any], words: list[Remark]) -> str:
    """The report as HTML."""
    environment = Environment(
        loader=PackageLoader("alignment"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["sure"] = sure
    people = sorted(report["agreement"]["people"], key=lambda person: float(person["agreement"]["value"]))
    return environment.get_template("reward_report.html").render(
        report=report,
        words=words,
        headline=HEADLINES[words[0].level] if "accuracy" in report else "This reward model is not measured",
        figures=list(_figures(report)),
        probes=report.get("probes", ()),
        says=SAYS,
        people=people[:MOST_PEOPLE],
    )


def _figures(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if "accuracy" not in report:
        return
    whole = report["accuracy"]["value"]
    beside = _beside(report)
    yield _figure(
        lambda axes: plots.shares(axes, beside),
        "Accuracy beside what annotators and simple rules reach.",
        len(beside),
    )
    curve = report["calibration"]["curve"]
    yield _figure(
        lambda axes: plots.calibration(axes, curve), "Calibration: on the dotted line it means what it says.", 6
    )
    captions = {
        "length": "Held-out accuracy by how long the preferred response is beside the other.",
        "criterion": "Held-out accuracy by criterion.",
        "strength": "Held-out accuracy by strength of the preference (4 is the strongest).",
        "annotator": "Held-out accuracy on each annotator's comparisons.",
        "language": "Held-out accuracy by language.",
    }
    for name, caption in captions.items():
        parts = report["by"][name]
        if len(parts) > 1:
            worst = dict(sorted(parts.items(), key=lambda item: item[1]["value"])[:MOST_PEOPLE])
            shown = worst if len(parts) > MOST_PEOPLE else parts
            yield _figure(lambda axes, shown=shown: plots.shares(axes, shown, whole), caption, len(shown))  # type: ignore[misc]
    if report["probes"]:
        moved = {SAYS[probe["name"]]: probe["change"] for probe in report["probes"]}
        label = "mean change (deviations)"
        yield _figure(
            lambda axes: plots.bars(axes, moved, label), "Held-out responses, changed and scored again.", len(moved)
        )


def _beside(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The model's accuracy among the shares that it is measured by."""
    lengths = report["lengths"]
    found = {
        "this model": report["accuracy"],
        "length controlled": lengths["balanced"],
        "pairs of equal length": lengths["matched"],
        "train comparisons": report.get("train"),
        "annotators' agreement": report["agreement"]["ceiling"],
        "always the longer": lengths["longer"],
    }
    return {name: share for name, share in found.items() if share is not None}


def _figure(draw: Callable[[Axes], None], caption: str, lines: int) -> dict[str, Any]:
    return {"svg": Markup(plots.svg(draw, caption, 0.9 + 0.36 * lines)), "caption": caption}
