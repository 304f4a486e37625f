"""Plots as SVG for a page: text stays text, lines and letters take the page's own colour, dark or light."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#010203"  # stands for the page's colour until the SVG is written
MAIN, SIDE, WARN = "#4a7fb5", "#8a6fb0", "#c2694f"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rankloop",
    "font.size": 9,
    "text.parse_math": False,  # a dollar sign in a name begins no formula
    **dict.fromkeys(["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"], INK),
}


def svg(draw: Callable[[Axes], None], label: str, height: float = 3.0) -> str:
    """One set of axes as an inline SVG, with a sentence for those who do not see it."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return text.replace("<svg ", f'<svg role="img" aria-label="{_attribute(label)}" ', 1)


def shares(axes: Axes, parts: Mapping[str, Mapping[str, Any]], whole: float | None = None) -> None:
    """Estimates as points with their intervals, one line a part; chance and the whole as upright lines."""
    names = list(parts)
    for place, name in enumerate(names):
        found = parts[name]
        axes.plot([found["low"], found["high"]], [place, place], color=MAIN, linewidth=2, solid_capstyle="round")
        axes.plot(found["value"], place, "o", color=MAIN)
        said, at = f"{found['value']:.0%} of {found['n']}", (min(0.9, found["value"]), place)
        axes.annotate(said, at, (0, 6), textcoords="offset points", ha="center", fontsize=7)
    axes.axvline(0.5, color=INK, linestyle=":", linewidth=0.8, alpha=0.6)
    if whole is not None:
        axes.axvline(whole, color=MAIN, linestyle="--", linewidth=0.8, alpha=0.7)
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("share right (dotted: chance)")


def calibration(axes: Axes, curve: Sequence[Mapping[str, Any]]) -> None:
    """Stated against observed; the area of a point goes with its number of comparisons."""
    most = max(found["n"] for found in curve)
    axes.plot([0.5, 1], [0.5, 1], color=INK, linestyle=":", linewidth=0.8)
    axes.plot([found["stated"] for found in curve], [found["happened"] for found in curve], color=MAIN, linewidth=1)
    axes.scatter(
        [found["stated"] for found in curve],
        [found["happened"] for found in curve],
        [12 + 120 * found["n"] / most for found in curve],
        color=MAIN,
        zorder=3,
    )
    axes.set_xlim(0.48, 1.02)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("probability that the model states")
    axes.set_ylabel("share in which it is right")


def bars(axes: Axes, parts: Mapping[str, float], label: str) -> None:
    """Signed numbers, one line a part."""
    names = list(parts)
    colours = [WARN if parts[name] >= 0 else SIDE for name in names]
    drawn = axes.barh(range(len(names)), list(parts.values()), 0.55, color=colours)
    axes.bar_label(drawn, fmt="%+.2f", fontsize=7, padding=2)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.25)
    axes.set_xlabel(label)


def traces(axes: Axes, curve: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> None:
    """Metrics by update, each with its label in the legend (empty: none)."""
    for (name, label), colour in zip(names.items(), (MAIN, WARN, SIDE), strict=False):
        rows = [row for row in curve if name in row]
        steps, values = [row["update"] for row in rows], [row[name] for row in rows]
        axes.plot(steps, values, color=colour, linewidth=1.2, label=label)
    if any(names.values()):
        axes.legend(frameon=False, fontsize=7)
    axes.set_xlabel("update")


def evaluations(
    axes: Axes, found: Sequence[Mapping[str, Any]], judged: Mapping[int, float], *, by_kl: bool = False
) -> None:
    """The learned held-out score by update, or by the root of the KL, in which over-optimisation bends the curve
    (Gao et al. 2022). The kept evaluation has a ring; another judge's score has an axis of its own."""
    places = {e["step"]: max(e["metrics"]["heldout_kl"], 0.0) ** 0.5 if by_kl else e["step"] for e in found}
    scores = {e["step"]: e["metrics"]["heldout_score"] for e in found}
    axes.plot([places[step] for step in scores], list(scores.values()), "o-", color=MAIN, markersize=3)
    for step in (entry["step"] for entry in found if entry["chosen"]):
        axes.plot(places[step], scores[step], "o", color=WARN, markersize=9, fillstyle="none")
    axes.set_xlabel("square root of the KL to the SFT policy" if by_kl else "update")
    axes.set_ylabel("reward model's score")
    if known := [step for step in places if step in judged]:
        other = axes.twinx()
        other.plot([places[s] for s in known], [judged[s] for s in known], "s--", color=SIDE, markersize=3)
        other.set_ylabel("other judge's score", color=SIDE)


def _short(text: str, most: int = 22) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
